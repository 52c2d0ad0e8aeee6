"""How often one token may ask: a bucket per token that fills steadily."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.errors import RateLimited


class Bucket:
    """One minute's worth may come at once; then it fills steadily."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._since = clock()

    def may(self) -> bool:
        """Whether one more is allowed; counts it then."""
        moment = self._clock()
        filled = self._left + (moment - self._since) * self._per_minute / 60
        self._left, self._since = min(float(self._per_minute), filled), moment
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def wait(self) -> float:
        """Seconds until the next one is allowed."""
        return max(0.0, (1 - self._left) * 60 / self._per_minute)


class RateLimits:
    """Buckets by name of the token, made anew when its rate changes."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, int], Bucket] = {}

    def take(self, name: str, per_minute: int) -> None:
        """Count one request of `name`. Raises: RateLimited."""
        bucket = self._buckets.setdefault((name, per_minute), Bucket(per_minute))
        if not bucket.may():
            message = f"token `{name}` sent more than {per_minute} requests in a minute"
            raise RateLimited(message, retry_after=bucket.wait())
