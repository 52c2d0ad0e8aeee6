"""An engine's answer on its way to the client: judged, made durable in the journal, passed on.

Memory is bounded whatever the answer's size: what is larger than `clients.spool.LARGE` goes through a file, and
whoever is slower, the client or the disk, slows the engine down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from clients.answers import StreamJudge, Verdict, judge, judge_stream
from clients.connection import Headers, UpstreamResponse
from clients.errors import UpstreamError
from clients.journal import Journal, StoredAnswer
from clients.large import LargeJudge
from clients.marks import error_body
from clients.request import InferenceRequest, returned_headers
from clients.spool import LARGE, SPOOLED, Spool, beside, find, read_pieces


class Reply(Protocol):
    """The way back to the client: `Visit`, or what stands between."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer at once."""

    async def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """An answer in pieces begins: a stream, or of `length` bytes if that is known."""

    async def piece(self, data: bytes) -> None:
        """More of it."""

    async def end(self) -> None:
        """It is complete."""


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


class Passage:
    """Passes answers on; with a journal, no sooner than they are in it."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._folder = beside(journal.path) if journal is not None else None

    def keeps(self, request: InferenceRequest) -> bool:
        """Is there a journal, and the request for it?"""
        return self._journal is not None and request.journaled

    async def replay(self, request: InferenceRequest, reply: Reply) -> Answered | None:
        """Answer from the journal, if it holds the answer. Raises `JournalError`."""
        stored = self._journal.take(request.key) if self._journal is not None and request.journaled else None
        if stored is None:
            return None
        if stored.content_type == SPOOLED:
            return await self._replay_large(stored, reply)
        await reply.whole(stored.status, _typed(stored.content_type), stored.body)
        streamed = _is_stream(stored.content_type.encode())
        verdict = (
            judge_stream(request.path, request.json, stored.body)
            if streamed
            else judge(request.path, request.json, stored.status, stored.body)
        )
        return Answered(verdict.tokens, replayed=True)

    async def answer(
        self, request: InferenceRequest, replica: str, response: UpstreamResponse, reply: Reply
    ) -> Answered:
        """Pass on what the engine called `replica` answers. Raises `AttemptFailed` or `JournalError`."""
        try:
            if response.status == 200 and _is_stream(response.header(b"content-type")):
                return await _Stream(self, request, replica, response, reply).passed()
            body = await response.read(LARGE)
            if not response.complete or len(body) > LARGE:
                return await self._large(request, replica, response, body, reply)
        except UpstreamError as error:
            raise AttemptFailed(error.cause, error.message) from error
        verdict = judge(request.path, request.json, response.status, body)
        if verdict.cause is not None:
            raise AttemptFailed(
                verdict.cause, verdict.message, status=response.status, headers=response.headers, body=body
            )
        await self.store(request, replica, response, body)
        await reply.whole(response.status, returned_headers(response.headers), body)
        return Answered(verdict.tokens)

    @contextlib.asynccontextmanager
    async def spool(self) -> AsyncIterator[Spool]:
        """Room for a body of any size, for the length of the block."""
        spool = Spool(self._folder)
        try:
            yield spool
        finally:
            spool.close()

    async def store(
        self, request: InferenceRequest, replica: str, response: UpstreamResponse, body: bytes, content_type: str = ""
    ) -> None:
        """Into the journal, if there is one; the content type is the engine's unless another is given."""
        if self._journal is not None and request.journaled:
            content_type = content_type or response.header(b"content-type").decode("latin-1")
            await self._journal.append(request.key, StoredAnswer(response.status, content_type, body, replica))

    async def store_large(
        self,
        request: InferenceRequest,
        replica: str,
        response: UpstreamResponse,
        spool: Spool,
        tokens: tuple[int, int] | None,
    ) -> None:
        """As `store`, of what is in a file."""
        if self.keeps(request):
            content_type = response.header(b"content-type").decode("latin-1")
            spooled = await spool.keep(request.key, content_type, tokens)
            await self.store(request, replica, response, spooled.reference, SPOOLED)

    async def _large(
        self, request: InferenceRequest, replica: str, response: UpstreamResponse, start: bytes, reply: Reply
    ) -> Answered:
        if response.status != 200:
            raise _large_error(response.status, start[:200].decode(errors="replace"))
        judged = LargeJudge()
        async with self.spool() as spool:
            data = start
            while data:
                await asyncio.to_thread(judged.add, data)
                await spool.add(data)
                data = await anext(response, b"")
            verdict = judged.verdict()
            if verdict.cause is not None:
                raise AttemptFailed(verdict.cause, verdict.message, status=response.status)
            await self.store_large(request, replica, response, spool, verdict.tokens)
            await reply.start(response.status, returned_headers(response.headers), length=spool.size)
            async for piece in spool.pieces():
                await reply.piece(piece)
        await reply.end()
        return Answered(verdict.tokens)

    async def _replay_large(self, stored: StoredAnswer, reply: Reply) -> Answered | None:
        """None if the file is gone or damaged: the request is asked again."""
        assert self._folder is not None
        found = await find(self._folder, stored.body)
        if found is None:
            return None
        spooled, path = found
        await reply.start(stored.status, _typed(spooled.content_type), length=spooled.size)
        async for piece in read_pieces(path):
            await reply.piece(piece)
        await reply.end()
        return Answered(spooled.tokens, replayed=True)


class _Stream:
    """Passes the pieces of one stream on as they come; from `[DONE]` on they are held until the answer is durable."""

    def __init__(
        self, passage: Passage, request: InferenceRequest, replica: str, response: UpstreamResponse, reply: Reply
    ) -> None:
        self._passage = passage
        self._request = request
        self._replica = replica
        self._response = response
        self._reply = reply
        self._judge = StreamJudge(request.path, request.json)
        self._started = False

    async def passed(self) -> Answered:
        try:
            async with self._passage.spool() as spool:
                held = await self._pieces(spool)
                verdict = self._judge.verdict()
                if verdict.cause is not None:
                    raise AttemptFailed(verdict.cause, verdict.message, status=self._response.status)
                await self._store(spool, verdict)
        except UpstreamError as error:
            failed = AttemptFailed(error.cause, error.message, status=self._response.status)
            failed.passed_on = self._started
            raise failed from error
        except AttemptFailed as failed:
            failed.passed_on = self._started
            raise
        if held:
            await self._pass(held)
        await self._reply.end()
        return Answered(verdict.tokens)

    async def _pieces(self, spool: Spool) -> bytes:
        """Pass on all that may be; returns the rest."""
        held: list[bytes] = []
        kept = self._passage.keeps(self._request)
        async for data in self._response:
            self._judge.add(data)
            if kept:
                await spool.add(data)
            if self._judge.done:
                held.append(data)
            else:
                await self._pass(data)
        return b"".join(held)

    async def _pass(self, data: bytes) -> None:
        if not self._started:
            self._started = True
            await self._reply.start(self._response.status, returned_headers(self._response.headers))
        await self._reply.piece(data)

    async def _store(self, spool: Spool, verdict: Verdict) -> None:
        body = spool.whole
        if body is None:
            await self._passage.store_large(self._request, self._replica, self._response, spool, verdict.tokens)
        else:
            await self._passage.store(self._request, self._replica, self._response, body)


def _large_error(status: int, excerpt: str) -> AttemptFailed:
    cause = f"http_{status}"
    headers = [(b"content-type", b"application/json")]
    return AttemptFailed(cause, excerpt, status=status, headers=headers, body=error_body(excerpt, cause))


def _typed(content_type: str) -> Headers:
    return [(b"content-type", content_type.encode())] if content_type else []


def _is_stream(content_type: bytes) -> bool:
    return content_type.startswith(b"text/event-stream")
