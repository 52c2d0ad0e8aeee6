"""How many requests in flight saturate the engine: found while it works.

The number grows while that pays (doubling at first, then by an eighth), and is cut to less when it does not. Only
saturated rounds count: those in which requests were held because the limit was reached. Three signs, best first:

- refusals and timeouts (429, 503, `timeout`): cut to 0.7 at once;
- the engine's own gauges, where it exports them: all runs and nothing waits there, grow; many wait, cut to what runs;
- throughput: a higher limit is kept if it gave a fifth of what the growth could have given, a lower one if it cost
  less than a twentieth.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OVERLOAD = frozenset({"http_429", "http_503", "timeout"})
MOST = 512
"""No limit is higher than this by default."""
WORKERS_PER_SLOT = 4
"""Workers that the evaluator gets for each request that the engine is thought to run at once."""

_CUT = 0.7
_PAYS = 0.2  # of the growth of the limit, as growth of throughput
_COSTS = 0.05
_QUEUES = 3  # looks in a row at a queue in the engine before the limit is cut
_FRESH = 5.0  # seconds that gauges are believed
_REST = 8  # rounds at the best limit before others are tried again
_HISTORY = 500


@dataclass(slots=True)
class _Round:
    """So many answers at one limit; the first ones still began at the last limit and do not count."""

    skip: int
    wanted: int
    began: float
    done: int = 0
    full: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Measured:
    limit: int
    rate: float
    """Answers per second."""


@dataclass(slots=True)
class _Gauges:
    seen_at: float = -math.inf
    queues: int = 0
    """Looks in a row that saw a queue."""


@dataclass(slots=True)
class _Climb:
    """Where the search over throughput stands."""

    best: _Measured | None = None
    down: bool = False
    rest: int = 0


class Limiter:
    """`limit` requests may be in flight; at first `start`, never more than `most` nor less than `least`."""

    def __init__(self, start: int, *, most: int = MOST, least: int = 1) -> None:
        self.limit = min(start, most)
        self.most = most
        self.least = least
        self.changed: Callable[[], None] = _nobody
        """Called when the limit has grown."""
        self._born = time.monotonic()
        self._history: deque[tuple[float, int, str]] = deque([(0.0, self.limit, "start")], maxlen=_HISTORY)
        self._doubling = True
        self._full = False
        self._sent_before = 0
        self._gauges = _Gauges()
        self._climb = _Climb()
        self._rate = 0.0
        self._latency = 0.0
        self._round = self._new_round()

    def finished(self, seconds: float, cause: str, *, saturated: bool) -> None:
        """An attempt has ended after `seconds`; `cause` is empty for an answer, `saturated`: requests are held."""
        self._full = saturated
        self._sent_before -= 1
        if cause in OVERLOAD:
            if self._sent_before < 0:
                self._overloaded(cause)
        elif not cause and self._counted(seconds, saturated):
            self._judge_round()

    def observe(self, running: int, waiting: int, in_flight: int) -> None:
        """What the engines' own gauges say, summed over replicas, once or twice a second, and what is in flight."""
        if running + waiting < 0.75 * in_flight:
            return  # stale
        self._gauges.seen_at = time.monotonic()
        spare = max(1, running // 8)
        self._gauges.queues = self._gauges.queues + 1 if waiting > 2 * spare else 0
        if self._gauges.queues >= _QUEUES and running:
            self._doubling = False
            self._set(running + spare, f"{waiting} wait in the engine, {running} run")
        elif waiting == 0 and self._full and in_flight >= self.limit:
            self._grow(f"all {running} run, more are held")

    def snapshot(self) -> dict[str, Any]:
        """For the record: history as [seconds since the start, limit, reason]; the last measured rate and latency."""
        return {
            "limit": self.limit,
            "history": [[round(seconds, 2), limit, reason] for seconds, limit, reason in self._history],
            "rate": round(self._rate, 2),
            "latency": round(self._latency, 4),
        }

    def _overloaded(self, cause: str) -> None:
        self._doubling = False
        self._climb = _Climb()
        self._sent_before = self.limit  # what they meet says nothing of the new limit
        self._set(int(self.limit * _CUT), f"overload: {cause}")

    def _counted(self, seconds: float, saturated: bool) -> bool:
        """Count an answer; True when the round is over and says something."""
        now, this = time.monotonic(), self._round
        this.done += 1
        if this.done == this.skip:
            this.began = now
        if this.done <= this.skip:
            return False
        this.full += saturated
        this.seconds += seconds
        if this.done < this.skip + this.wanted:
            return False
        self._round = self._new_round()
        self._round.skip = 1  # the limit is the same
        self._rate, self._latency = this.wanted / max(1e-6, now - this.began), this.seconds / this.wanted
        return this.full >= 0.8 * this.wanted

    def _judge_round(self) -> None:
        """By throughput; the gauges, where there are any, know better."""
        if time.monotonic() < self._gauges.seen_at + _FRESH:
            return
        best, now = self._climb.best, _Measured(self.limit, self._rate)
        if best is None or now.limit == best.limit:
            self._rested(now)
        elif now.limit > best.limit:
            self._judge_growth(best, now)
        elif now.rate >= (1 - _COSTS) * best.rate:
            self._climb.best = now
            self._shrink(f"{now.rate:.1f}/s is as fast as {best.rate:.1f}/s at {best.limit}")
        else:
            self._settle(best, f"{now.rate:.1f}/s is slower than {best.rate:.1f}/s at {best.limit}")

    def _judge_growth(self, best: _Measured, now: _Measured) -> None:
        if now.rate >= best.rate * (1 + _PAYS * (now.limit / best.limit - 1)):
            self._climb.best, self._climb.down = now, False
            self._grow(f"{now.rate:.1f}/s after {best.rate:.1f}/s at {best.limit}")
            return
        first_turn, self._doubling, self._climb.down = self._doubling, False, True
        self._settle(best, f"{now.rate:.1f}/s is no faster than {best.rate:.1f}/s at {best.limit}")
        if first_turn:
            self._climb.rest = 0  # as much may be too much already: look below at once

    def _rested(self, now: _Measured) -> None:
        """A round at the best limit: measure it afresh, and now and then try another."""
        best = self._climb.best
        rate = now.rate if best is None else (best.rate + now.rate) / 2
        self._climb.best = _Measured(now.limit, rate)
        self._climb.rest -= 1
        if self._climb.rest <= 0:
            if self._climb.down:
                self._shrink("is less as fast?")
            else:
                self._grow("is more faster?")

    def _settle(self, best: _Measured, reason: str) -> None:
        """Back to the best limit; after a rest the other direction is tried."""
        self._climb.rest = _REST
        self._climb.down = self.limit > best.limit
        self._set(best.limit, reason)

    def _grow(self, reason: str) -> None:
        step = self.limit if self._doubling else max(1, self.limit // 8)
        self._set(self.limit + step, reason)

    def _shrink(self, reason: str) -> None:
        self._set(min(self.limit - 1, int(self.limit * 0.75)), reason)

    def _set(self, limit: int, reason: str) -> None:
        grown = limit > self.limit
        limit = max(self.least, min(self.most, limit))
        if limit != self.limit:
            self.limit = limit
            self._history.append((time.monotonic() - self._born, limit, reason))
        self._gauges.queues = 0
        self._round = self._new_round()
        if grown:
            self.changed()

    def _new_round(self) -> _Round:
        return _Round(skip=self.limit, wanted=max(2 * self.limit, 32), began=time.monotonic())


def _nobody() -> None:
    """No pool listens."""
