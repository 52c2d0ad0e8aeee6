"""A breaker per replica: one that only fails gets no requests until it has answered again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]

PROBE_FAILED = "probe_failed"
BROKEN_CONNECTION = frozenset({"refused", "reset", "cut", "timeout", PROBE_FAILED})
"""Causes that are the replica's fault, whatever was asked of it."""
BROKEN_ANSWER = frozenset({"bad_json", "error_body", "finish_reason_error"})
"""Causes that may be the request's fault: they count when different requests meet them, as `http_5xx` does."""


class Breaker:
    """Closed, until `failures` in a row; open, for `pause` seconds; half open, until `successes` in a row.

    While half open as many requests as successes are missing may try; a failure opens it again for twice as long, at
    most `longest` seconds. The causes that count are `BROKEN_CONNECTION`, and `BROKEN_ANSWER` and `http_5xx` of
    different requests: one request that no replica can answer opens nothing. Of all others it takes no notice.

    With a `guard`, somebody who asks generations of the replica whenever `opened` is set, no request is risked: it is
    the guard's generations that close the breaker.
    """

    def __init__(self, *, failures: int = 5, successes: int = 2, pause: float = 1.0, longest: float = 30.0) -> None:
        self.state: BreakerState = "closed"
        self.guarded = False
        self.opened = asyncio.Event()
        """Set while it is not closed."""
        self.answers = 0
        """How often it was told of an answer."""
        self.trips = 0
        """How often it has opened."""
        self.last_error = ""
        """The last cause that counted."""
        self.changed: Callable[[], None] = _nobody
        """Called when requests may be admitted that were not before."""
        self._failures, self._successes, self._pause, self._longest = failures, successes, pause, longest
        self._row = self._trials = 0
        self._failed = ""
        self._opened_at = 0.0
        self._paused = pause

    def admits(self) -> bool:
        """May a request go to the replica now?"""
        if self.state == "closed":
            return True
        if self.guarded:
            return False
        if self.state == "open":
            return self.opens_in() <= 0
        return self._trials < self._successes - self._row

    def opens_in(self) -> float:
        """Seconds until a request may try, infinite when time alone does not bring that about."""
        if self.guarded or self.state != "open":
            return math.inf
        return self._opened_at + self._paused - time.monotonic()

    def begin(self) -> bool:
        """A request that was admitted goes to the replica; says whether it is a trial, for `end`."""
        if self.state == "closed":
            return False
        if self.state == "open":
            self.state, self._row, self._trials = "half_open", 0, 0
        self._trials += 1
        return True

    def end(self, trial: bool) -> None:
        """That request is over, however."""
        if trial:
            self._trials = max(0, self._trials - 1)

    def success(self) -> None:
        """The replica has answered a request."""
        self.answers += 1
        if self.state == "closed":
            self._row, self._failed = 0, ""
            return
        self._row = 1 if self.state == "open" else self._row + 1
        self.state = "half_open"
        if self._row >= self._successes:
            self.reset()
        self.changed()

    def failure(self, cause: str, request: str = "") -> None:
        """The replica has failed; `request` says which requests are the same, for causes that may be its fault."""
        if cause not in BROKEN_CONNECTION and cause not in BROKEN_ANSWER and not _is_5xx(cause):
            return
        self.last_error = cause
        if self.state == "half_open":
            self._paused = min(self._longest, 2 * self._paused)
            self._open()
        elif self.state == "closed" and (cause in BROKEN_CONNECTION or not request or request != self._failed):
            self._row += 1
            self._failed = request
            if self._row >= self._failures:
                self._open()

    def reset(self) -> None:
        """As new: the replica was started again."""
        self.state = "closed"
        self.opened.clear()
        self._row = self._trials = 0
        self._failed = ""
        self._opened_at = 0.0
        self._paused = self._pause

    def _open(self) -> None:
        self.state = "open"
        self.trips += 1
        self._row = self._trials = 0
        self._opened_at = time.monotonic()
        self.opened.set()
        self.changed()


def _is_5xx(cause: str) -> bool:
    return cause.startswith("http_5") and cause != "http_501"


def _nobody() -> None:
    """No pool listens."""
