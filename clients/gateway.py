"""The gateway: one OpenAI-compatible URL in front of all replicas of a job.

A raw ASGI application: nothing of a request is parsed that need not be known, bodies pass through byte for
byte but for what a named rule changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from clients.answers import CHAT, COMPLETIONS, GENERATE
from clients.connection import Headers
from clients.errors import JournalError, NoReplica
from clients.forward import AttemptFailed, Attempts, Forwarder
from clients.inbound import CONNECTION, ClientConnection, Receive, Scope, Send, listening
from clients.journal import Journal
from clients.ledger import Failure, Ledger
from clients.marks import error_body, marked_answer
from clients.pages import metrics_page, models_page, replicas_page
from clients.pool import Pool
from clients.request import InferenceRequest, read_request, returned_headers
from clients.rules import RULES, Rule

_JSON: Headers = [(b"content-type", b"application/json")]
# The openai SDK obeys it: the gateway has retried already, attempts must not multiply.
_FINAL: Headers = [*_JSON, (b"x-should-retry", b"false")]
_INFERENCE = frozenset({CHAT, COMPLETIONS, GENERATE})

Page = Callable[[], tuple[int, bytes, bytes]]
"""Gives status, content type and body."""


class Gateway:
    """What the evaluator talks to.

    Requests wait while no replica of `pool` is ready, until the pool is closed. `request_timeout` is in
    seconds without a single byte from the engine; `attempts` how often a request is sent at most; `backoff`
    the seconds before the second attempt. Every answer is in the `journal` before it is passed on.
    """

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        journal: Journal | None,
        *,
        served_model: str,
        request_timeout: float,
        attempts: int = 3,
        backoff: float = 0.25,
        rules: Sequence[Rule] = RULES,
    ) -> None:
        self.pool = pool
        self.ledger = ledger
        self._forwarder = Forwarder(
            pool, ledger, journal, timeout=request_timeout, attempts=attempts, backoff=backoff, rules=rules
        )
        self._visits: set[_Visit] = set()
        created = int(time.time())
        self._pages: dict[str, Page] = {
            "/v1/models": lambda: (200, b"application/json", models_page(served_model, created)),
            "/health": self._health,
            "/replicas": lambda: (200, b"application/json", replicas_page(pool)),
            "/metrics": lambda: (200, b"text/plain; version=0.0.4", metrics_page(ledger, pool)),
        }

    def serving(self, host: str, port: int) -> AbstractAsyncContextManager[str]:
        """Listen for the length of the block, which gets the base URL (without `/v1`).

        On leaving, requests in flight end as failed (`gateway_stopped`). Raises `OSError` if the port is
        taken.
        """
        return listening(self, host, port, before_stop=self._end_visits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; needs the `ClientConnection` of `clients.inbound`."""
        path, method = scope["path"], scope["method"]
        reply = _AsgiReply(send)
        if path in _INFERENCE:
            if method == "POST":
                await self._inference(scope, receive, reply)
            else:
                await _refuse(reply, 405, f"{path} takes POST")
        elif page := self._pages.get(path):
            if method in ("GET", "HEAD"):
                status, content_type, body = page()
                await reply.whole(status, [(b"content-type", content_type)], body)
            else:
                await _refuse(reply, 405, f"{path} takes GET")
        else:
            await _refuse(reply, 404, f"no route {path}")

    async def _inference(self, scope: Scope, receive: Receive, reply: _AsgiReply) -> None:
        body = await _read_body(receive)
        if body is None:
            return  # the client left before it had asked anything
        query = scope["query_string"]
        target = (scope["raw_path"] + b"?" + query if query else scope["raw_path"]).decode("ascii")
        request = read_request(scope["path"], target, scope["headers"], body)
        connection: ClientConnection = scope[CONNECTION]
        visit = _Visit()
        self._visits.add(visit)
        connection.on_gone = visit.client_gone
        self.ledger.ask()
        tried = Attempts()
        try:
            await self._answer(request, reply, tried, connection)
        except asyncio.CancelledError:
            self._fail(visit.ended or "cancelled", "", request, tried)
            if visit.ended is None:
                raise
            visit.recover()
            if not reply.started:
                await _error(reply, 503, "the gateway stops", visit.ended)
            else:
                await connection.cut()
        finally:
            connection.on_gone = None
            self._visits.discard(visit)

    async def _answer(
        self, request: InferenceRequest, reply: _AsgiReply, tried: Attempts, connection: ClientConnection
    ) -> None:
        asked = asyncio.get_running_loop().time()
        try:
            answered = await self._forwarder.forward(request, reply, tried)
        except AttemptFailed as failed:
            failure = self._fail(failed.cause, failed.message, request, tried, failed.status)
            if failed.passed_on:
                await connection.cut()
            else:
                await _tell(request, reply, failure, _own_error(failed))
        except NoReplica as error:
            failure = self._fail("no_replica", error.message, request, tried)
            await _tell(request, reply, failure, (503, _FINAL, error_body(error.message, "no_replica")))
        except JournalError as error:
            failure = self._fail(error.code, error.message, request, tried)
            if reply.started:
                await connection.cut()
            else:
                await _tell(request, reply, failure, (503, _FINAL, error_body(error.message, error.code)))
        else:
            seconds = asyncio.get_running_loop().time() - asked
            self.ledger.hold(tried.held)
            self.ledger.answer(seconds, answered.tokens, replayed=answered.replayed)

    def _fail(self, cause: str, message: str, request: InferenceRequest, tried: Attempts, status: int = 0) -> Failure:
        return self.ledger.fail(
            cause,
            key=request.key,
            path=request.path,
            message=message,
            replica=tried.replica,
            status=status,
            attempts=tried.count,
        )

    def _health(self) -> tuple[int, bytes, bytes]:
        ready = bool(self.pool.ready)
        body = b'{"status":"ok"}' if ready else b'{"status":"no replica is ready"}'
        return (200 if ready else 503), b"application/json", body

    def _end_visits(self) -> None:
        for visit in list(self._visits):
            visit.end("gateway_stopped")


class _Visit:
    """A request in progress that can be ended from outside."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self._task = asyncio.current_task()

    def client_gone(self) -> None:
        self.end("client_gone")

    def end(self, cause: str) -> None:
        if self.ended is None and self._task is not None:
            self.ended = cause
            self._task.cancel()

    def recover(self) -> None:
        """The cancellation was ours and has done its work."""
        if self._task is not None:
            self._task.uncancel()


class _AsgiReply:
    """A `Reply` (see `clients.forward`) that is an ASGI response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self._begin(status, [*returned_headers(headers), length])
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        await self._begin(status, returned_headers(headers))

    async def piece(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    def _begin(self, status: int, headers: Headers) -> Awaitable[None]:
        self.started = True
        return self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _read_body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message["body"])
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _own_error(failed: AttemptFailed) -> tuple[int, Headers, bytes]:
    """The engine's own error if it said one as such, else ours."""
    if failed.status and failed.status != 200:
        headers = [*returned_headers(failed.headers), (b"x-should-retry", b"false")]
        return failed.status, headers, failed.body
    status = 504 if failed.cause == "timeout" else 502
    return status, _FINAL, error_body(failed.message or "the engine gave no answer", failed.cause)


async def _tell(
    request: InferenceRequest, reply: _AsgiReply, failure: Failure, error: tuple[int, Headers, bytes]
) -> None:
    if request.marked and not request.streaming:
        await reply.whole(200, _JSON, marked_answer(request, failure.id))
    else:
        await reply.whole(*error)


async def _refuse(reply: _AsgiReply, status: int, message: str) -> None:
    await reply.whole(status, _JSON, error_body(message, f"http_{status}", kind="invalid_request_error"))


async def _error(reply: _AsgiReply, status: int, message: str, code: str) -> None:
    await reply.whole(status, _FINAL, error_body(message, code))
