"""One request through the pool: sent, judged, retried, journaled.

The only place of the job that retries a request, so that attempts of several layers do not multiply.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from clients.answers import Verdict, judge, judge_stream, retryable
from clients.connection import Headers, UpstreamResponse
from clients.errors import UpstreamError
from clients.inbound import Visit
from clients.journal import Journal, StoredAnswer
from clients.ledger import Ledger
from clients.pool import Lease, Pool
from clients.replica import Replica
from clients.request import InferenceRequest, returned_headers
from clients.rules import Rule, apply_rules

_MAX_BACKOFF = 5.0


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


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that got a real answer, already passed on."""

    tokens: tuple[int, int] | None
    replayed: bool = False


class AttemptFailed(Exception):
    """One attempt gave no answer; `status`, `headers` and `body` are the engine's, where it gave any."""

    def __init__(
        self, cause: str, message: str, *, status: int = 0, headers: Headers | None = None, body: bytes = b""
    ) -> None:
        super().__init__(f"{cause}: {message}")
        self.cause = cause
        self.message = message
        self.status = status
        self.headers = headers or []
        self.body = body
        self.passed_on = False
        """Part of a stream has reached the client: no retry and no error status is possible."""


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
        rules: Sequence[Rule],
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._journal = journal
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._rules = tuple(rules)

    async def forward(self, request: InferenceRequest, reply: Visit, tried: Attempts) -> Answered:
        """Answer from the journal, or ask until there is an answer.

        Raises `AttemptFailed` (the last one), `NoReplica` or `JournalError`.
        """
        stored = self._journal.take(request.key) if self._journal else None
        if stored is not None:
            headers = [(b"content-type", stored.content_type.encode())] if stored.content_type else []
            await reply.whole(stored.status, headers, stored.body)
            return Answered(_verdict(request, stored.content_type.encode(), stored.status, stored.body).tokens, True)
        while True:
            try:
                return await self._attempt(request, reply, tried)
            except AttemptFailed as failed:
                if not await self._worth_another(failed, tried):
                    raise
                self._ledger.retry(failed.cause)

    async def _attempt(self, request: InferenceRequest, reply: Visit, tried: Attempts) -> Answered:
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

    async def _ask(self, request: InferenceRequest, replica: Replica, reply: Visit) -> Answered:
        body, applied = apply_rules(self._rules, request, replica)
        self._ledger.rules_applied.update(applied)
        response: UpstreamResponse | None = None
        try:
            response = await replica.upstream.send(
                "POST", request.target, request.headers + replica.headers, body, timeout=self._timeout
            )
            if response.status == 200 and _is_stream(response.header(b"content-type")):
                return await self._pass_stream(request, replica, response, reply)
            whole = await response.read()
        except UpstreamError as error:
            raise AttemptFailed(error.cause, error.message) from error
        finally:
            if response is not None:
                response.abort()
        return await self._pass_whole(request, replica, response, whole, reply)

    async def _pass_whole(
        self,
        request: InferenceRequest,
        replica: Replica,
        response: UpstreamResponse,
        body: bytes,
        reply: Visit,
    ) -> Answered:
        verdict = judge(request.path, request.json, response.status, body)
        if verdict.cause is not None:
            raise AttemptFailed(
                verdict.cause, verdict.message, status=response.status, headers=response.headers, body=body
            )
        await self._store(request, replica, response, body)
        await reply.whole(response.status, returned_headers(response.headers), body)
        return Answered(verdict.tokens)

    async def _pass_stream(
        self, request: InferenceRequest, replica: Replica, response: UpstreamResponse, reply: Visit
    ) -> Answered:
        """Pass pieces on as they come; `[DONE]` is held back until the answer is durable."""
        pieces: list[bytes] = []
        held: list[bytes] = []
        started = False
        try:
            async for data in response:
                pieces.append(data)
                if held or _has_done(data):
                    held.append(data)
                    continue
                if not started:
                    started = True
                    await reply.start(response.status, returned_headers(response.headers))
                await reply.piece(data)
            body = b"".join(pieces)
            verdict = judge_stream(request.path, request.json, body)
            if verdict.cause is not None:
                raise AttemptFailed(verdict.cause, verdict.message, status=response.status)
            await self._store(request, replica, response, body)
        except UpstreamError as error:
            failed = AttemptFailed(error.cause, error.message, status=response.status)
            failed.passed_on = started
            raise failed from error
        except AttemptFailed as failed:
            failed.passed_on = started
            raise
        if not started:
            await reply.start(response.status, returned_headers(response.headers))
        if held:
            await reply.piece(b"".join(held))
        await reply.end()
        return Answered(verdict.tokens)

    async def _store(
        self, request: InferenceRequest, replica: Replica, response: UpstreamResponse, body: bytes
    ) -> None:
        if self._journal is not None:
            content_type = response.header(b"content-type").decode("latin-1")
            await self._journal.append(request.key, StoredAnswer(response.status, content_type, body, replica.name))

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


def _verdict(request: InferenceRequest, content_type: bytes, status: int, body: bytes) -> Verdict:
    if _is_stream(content_type):
        return judge_stream(request.path, request.json, body)
    return judge(request.path, request.json, status, body)


def _is_stream(content_type: bytes) -> bool:
    return content_type.startswith(b"text/event-stream")


def _has_done(data: bytes) -> bool:
    """Inside JSON a line break is escaped, so that a line of an answer's text is never taken for the end."""
    return data.startswith((b"data: [DONE]", b"data:[DONE]")) or b"\ndata: [DONE]" in data or b"\ndata:[DONE]" in data
