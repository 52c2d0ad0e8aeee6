"""Was it the engine that was measured, or this process? Event-loop lag and CPU share, sampled once a second."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

LAG_LIMIT = 0.05
"""Seconds of event-loop lag (99th percentile) above which answers wait for the gateway, not for the engine."""
CPU_LIMIT = 0.9
"""Share of one core above which the gateway has nothing left."""

_TICK = 0.05  # twenty looks at the lag per sample: a percentile needs some
_SAMPLE = 1.0
_BUCKET = 1.25  # lag is kept in classes of this ratio, from a tenth of a millisecond up
_SMALLEST = 1e-4


class Honesty:
    """Gauges of the process that it lives in, which must be the gateway's.

    Only moments count at which `active` says that requests are in flight (default: all).
    """

    def __init__(self, active: Callable[[], bool] = lambda: True) -> None:
        self._active = active
        self._lags: Counter[int] = Counter()
        self._longest = 0.0
        self._samples = 0
        self._busy = 0
        self._cpu = 0.0
        self._seconds = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample for the length of the block."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def client_limited(self) -> bool:
        """True when a speed measured meanwhile is the gateway's, not the engine's."""
        return self.lag(0.99) > LAG_LIMIT or (self._samples > 0 and self._busy > self._samples / 2)

    def lag(self, share: float) -> float:
        """The lag, in seconds, that this share of all looks did not exceed, to a quarter of its value."""
        left = share * self._lags.total()
        for bucket in sorted(self._lags):
            left -= self._lags[bucket]
            if left <= 0:
                return min(self._longest, _SMALLEST * _BUCKET**bucket)
        return 0.0

    def snapshot(self) -> dict[str, Any]:
        """For the record: lag in seconds, CPU as a share of one core, the verdict `client_limited`."""
        return {
            "lag_p50": round(self.lag(0.5), 5),
            "lag_p99": round(self.lag(0.99), 5),
            "lag_max": round(self._longest, 5),
            "cpu": round(self._cpu / self._seconds, 3) if self._seconds else 0.0,
            "busy_samples": self._busy,
            "samples": self._samples,
            "client_limited": self.client_limited,
        }

    async def _watch(self) -> None:
        active = 0.0
        cpu, wall = time.process_time(), time.monotonic()
        while True:
            asked, before = time.monotonic(), self._active()
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if before or self._active():
                self._note_lag(max(0.0, now - asked - _TICK))
                active += now - asked
            if now - wall >= _SAMPLE:
                used = time.process_time()
                if active > (now - wall) / 2:
                    self._note_cpu(used - cpu, now - wall)
                cpu, wall, active = used, now, 0.0

    def _note_lag(self, lag: float) -> None:
        self._longest = max(self._longest, lag)
        bucket = 0
        while _SMALLEST * _BUCKET**bucket < lag:
            bucket += 1
        self._lags[bucket] += 1

    def _note_cpu(self, used: float, seconds: float) -> None:
        self._samples += 1
        self._busy += used > CPU_LIMIT * seconds
        self._cpu += used
        self._seconds += seconds
