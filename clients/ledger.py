"""What the gateway saw: how many requests were asked, answered and failed, and why."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

MAX_FAILURES = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was not answered."""

    id: str
    """Unique in the job; a failure mark carries it."""
    time: float
    """Unix time, in seconds."""
    cause: str
    """`http_500`, `refused`, `timeout`, `empty_answer`, `no_replica`, `client_gone`, ..."""
    message: str
    """The first 200 characters of the error body, or what happened."""
    replica: str
    """The last replica asked; empty if none was."""
    status: int
    """The engine's HTTP status; 0 if it gave none."""
    key: str
    """The canonical request."""
    path: str
    """The route."""
    attempts: int
    """How often it was sent to a replica."""


@dataclass(slots=True)
class Latency:
    """A sum of durations, in seconds."""

    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)


class Ledger:
    """Counts of one gateway; always asked == answered + failed + in flight."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.failed = 0
        self.in_flight = 0
        self.replayed = 0
        self.retried = 0
        self.failed_by_cause: Counter[str] = Counter()
        self.retried_by_cause: Counter[str] = Counter()
        self.rules_applied: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._causes: list[str] = []
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.answered_without_usage = 0
        self.latency = Latency()
        self.held = Latency()
        self.first_answer: float | None = None
        self.last_answer: float | None = None

    def ask(self) -> None:
        """A request came in."""
        self.asked += 1
        self.in_flight += 1

    def hold(self, seconds: float) -> None:
        """A request waited for a replica before it was sent."""
        self.held.add(seconds)

    def retry(self, cause: str) -> None:
        """An attempt failed and another follows."""
        self.retried += 1
        self.retried_by_cause[cause] += 1

    def answer(self, seconds: float, tokens: tuple[int, int] | None, *, replayed: bool = False) -> None:
        """A request was answered after `seconds`; `tokens` are (prompt, completion) where the engine told."""
        self.in_flight -= 1
        self.answered += 1
        self.last_answer = time.time()
        self.first_answer = self.first_answer or self.last_answer
        if tokens is None:
            self.answered_without_usage += 1
        else:
            self.prompt_tokens += tokens[0]
            self.completion_tokens += tokens[1]
        if replayed:
            self.replayed += 1
        else:
            self.latency.add(seconds)

    def fail(
        self,
        cause: str,
        *,
        key: str,
        path: str,
        message: str = "",
        replica: str = "",
        status: int = 0,
        attempts: int = 0,
    ) -> Failure:
        """A request failed for good. Only the first 1000 are listed, all are counted."""
        self.in_flight -= 1
        self.failed += 1
        self.failed_by_cause[cause] += 1
        self._causes.append(cause)
        failure = Failure(
            id=f"{self.failed}-{key[:12]}",
            time=time.time(),
            cause=cause,
            message=message[:200],
            replica=replica,
            status=status,
            key=key,
            path=path,
            attempts=attempts,
        )
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(failure)
        return failure

    def cause_of(self, failure_id: str) -> str | None:
        """Why the request of this id failed, listed or not; None: there is no such failure."""
        number, _, _ = failure_id.partition("-")
        known = number.isdecimal() and 0 < int(number) <= len(self._causes)
        return self._causes[int(number) - 1] if known else None

    def snapshot(self) -> dict[str, Any]:
        """All of it, for the job's record. Times are Unix seconds, durations seconds."""
        return {
            "asked": self.asked,
            "answered": self.answered,
            "failed": self.failed,
            "in_flight": self.in_flight,
            "replayed": self.replayed,
            "retried": self.retried,
            "failed_by_cause": dict(self.failed_by_cause),
            "retried_by_cause": dict(self.retried_by_cause),
            "rules_applied": dict(self.rules_applied),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "answered_without_usage": self.answered_without_usage,
            "latency": asdict(self.latency),
            "held": asdict(self.held),
            "first_answer": self.first_answer,
            "last_answer": self.last_answer,
            "failures": [asdict(failure) for failure in self.failures],
            "failures_not_listed": self.failed - len(self.failures),
        }
