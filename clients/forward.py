"""One request through the pool: sent, and sent again where that may help.

The only place of the job that retries a request, so that attempts of several layers do not multiply.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from clients.answers import retryable
from clients.errors import UpstreamError
from clients.journal import Journal
from clients.ledger import Ledger
from clients.marks import error_body
from clients.passing import Answered, AttemptFailed, Passage, Reply
from clients.pool import Lease, Pool
from clients.replica import Replica
from clients.request import InferenceRequest
from clients.rules import Rules

_MAX_BACKOFF = 5.0
_JSON = (b"content-type", b"application/json")


@dataclass(slots=True)
class Attempts:
    """What was tried for one request; lives on when the request is cancelled, for the ledger."""

    count: int = 0
    replica: str = ""
    held: float = 0.0
    """Seconds spent waiting for a replica."""
    tried: set[str] = field(default_factory=set)
    lease: Lease | None = None
    """The last attempt's."""


class Forwarder:
    """Sends requests to the replicas of a pool.

    `timeout` is in seconds without a byte from the engine; `attempts` how often one request is sent at most;
    `backoff` the seconds before the second attempt, doubled for each further one, with jitter.
    """

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        journal: Journal | None,
        *,
        timeout: float,
        attempts: int,
        backoff: float,
        rules: Rules,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._passage = Passage(journal)
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._rules = rules

    async def forward(self, request: InferenceRequest, reply: Reply, tried: Attempts) -> Answered:
        """Answer from the journal, or ask until there is an answer.

        Raises `AttemptFailed` (the last one), `NoReplica` or `JournalError`.
        """
        if (refusal := self._rules.refusal(request)) is not None:
            body = error_body(refusal, "http_400", kind="invalid_request_error")
            raise AttemptFailed("http_400", refusal, status=400, headers=[_JSON], body=body)
        replayed = await self._passage.replay(request, reply)
        if replayed is not None:
            return replayed
        while True:
            try:
                return await self._attempt(request, reply, tried)
            except AttemptFailed as failed:
                if not await self._worth_another(failed, tried):
                    raise
                self._ledger.retry(failed.cause)

    async def _attempt(self, request: InferenceRequest, reply: Reply, tried: Attempts) -> Answered:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        lease = tried.lease = await self._pool.acquire(request, tried.tried)
        with lease as replica:
            tried.held += loop.time() - asked
            tried.count += 1
            tried.replica = replica.name
            tried.tried.add(replica.name)
            try:
                answered = await self._ask(request, replica, reply)
            except AttemptFailed as failed:
                lease.failed(failed.cause, request.key)
                raise
            lease.succeeded()
            return answered

    async def _ask(self, request: InferenceRequest, replica: Replica, reply: Reply) -> Answered:
        body, applied = self._rules.body(request, replica)
        self._ledger.rules_applied.update(applied)
        try:
            response = await replica.upstream.send(
                "POST", request.target, request.headers + replica.headers, body, timeout=self._timeout
            )
        except UpstreamError as error:
            raise AttemptFailed(error.cause, error.message) from error
        try:
            return await self._passage.answer(request, replica.name, response, reply)
        finally:
            response.abort()

    async def _worth_another(self, failed: AttemptFailed, tried: Attempts) -> bool:
        """May it be sent again? Returns when it is time to."""
        if failed.passed_on or not retryable(failed.cause, failed.status) or tried.lease is None:
            return False
        alone = not self._pool.has_other(tried.tried)
        if failed.cause == "timeout" and alone:
            await self._pool.judged(tried.lease)
        # A dying engine resets and refuses a moment before its end is known.
        await asyncio.sleep(self._pause(tried.count if tried.count < self._attempts else 1))
        if tried.lease.lost:  # with the replica, not by the request's fault: does not count as an attempt
            tried.count -= 1
            return True
        # A request that was silent for the whole time limit would be so again where it hung.
        return tried.count < self._attempts and not (failed.cause == "timeout" and alone)

    def _pause(self, count: int) -> float:
        longest = min(_MAX_BACKOFF, self._backoff * float(2 ** (count - 1)))
        return longest * random.uniform(0.5, 1.0)
