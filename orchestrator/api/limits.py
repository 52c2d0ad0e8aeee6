"""How often one token may ask: a bucket per token that fills steadily."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.errors import RateLimited


class RateLimits:
    """Buckets by name of the token; one minute's worth may come at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, name: str, per_minute: int) -> None:
        """Count one request of `name`. Raises: RateLimited."""
        moment = self._clock()
        left, since = self._left.get(name, (float(per_minute), moment))
        left = min(float(per_minute), left + (moment - since) * per_minute / 60)
        if left < 1:
            self._left[name] = (left, moment)
            message = f"token `{name}` sent more than {per_minute} requests in a minute"
            raise RateLimited(message, retry_after=(1 - left) * 60 / per_minute)
        self._left[name] = (left - 1, moment)
