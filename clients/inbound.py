"""The gateway's inbound side: HTTP/1.1 on asyncio and httptools, inside the caller's event loop.

Not ASGI: measured, an ASGI server doubles the CPU of a request here, and it cannot tell a request that its client has
left without a task per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httptools

from clients.connection import Headers

MAX_HEAD = 64 * 1024  # bytes of a request's target and headers
MAX_BODY = 256 * 1024 * 1024
_GRACE = 2.0  # seconds that answers may take to leave when the server stops

_log = logging.getLogger(__name__)
_STATUS_LINES = {
    status: f"HTTP/1.1 {status} {phrase}\r\n".encode()
    for status, phrase in (dict.fromkeys(range(100, 1000), "") | {s.value: s.phrase for s in http.HTTPStatus}).items()
}


class Visit:
    """One request of a client, and the way back to it.

    The handler gives exactly one answer: `whole`, or `start`, `piece`s and `end`, or `cut`. Each waits while the client
    reads too slowly. When the visit is ended from outside the handler is cancelled and `ended` says why.
    """

    __slots__ = (
        "_chunked", "_connection", "body", "ended", "headers", "http_1_0", "keep_alive", "method", "path", "started",
        "target", "task",
    )  # fmt: skip

    def __init__(self, connection: ClientConnection) -> None:
        self.method = ""
        self.path = ""
        """Decoded, without the query."""
        self.target = ""
        """Path and query as they came."""
        self.headers: Headers = []
        """Names in lower case."""
        self.body = b""
        self.started = False
        """A byte of an answer was given."""
        self.ended: str | None = None
        """`client_gone` or `gateway_stopped`."""
        self.http_1_0 = False
        self.keep_alive = True
        self.task: asyncio.Task[None] | None = None
        self._chunked = False
        self._connection = connection

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer at once; `content-length` is added here."""
        length = (b"content-length", b"%d" % len(body))
        head = self._head(status, [*headers, length])
        await self._connection.write(head if self.method == "HEAD" else head + body)

    async def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """An answer in pieces begins, of `length` bytes if that is known."""
        if length is not None:
            headers = [*headers, (b"content-length", b"%d" % length)]
        elif self.http_1_0:  # knows no chunks: the end of the connection is the end of the answer
            self.keep_alive = False
        else:
            self._chunked = True
            headers = [*headers, (b"transfer-encoding", b"chunked")]
        await self._connection.write(self._head(status, headers))

    async def piece(self, data: bytes) -> None:
        """More of it."""
        await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end(self) -> None:
        """It is complete."""
        if self._chunked:
            await self._connection.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close without ending the answer properly, so that the client sees that it is broken."""
        self.keep_alive = False
        self._connection.abort(reset=self.http_1_0)

    def stop(self, cause: str) -> None:
        """Cancel the handler (once), telling it why."""
        if self.ended is None and self.task is not None:
            self.ended = cause
            self.task.cancel()

    def _head(self, status: int, headers: Headers) -> bytes:
        self.started = True
        lines = [_STATUS_LINES[status], *(b"%b: %b\r\n" % header for header in headers)]
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)


Handler = Callable[[Visit], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler, host: str, port: int) -> AsyncIterator[str]:
    """Serve for the length of the block; gives the URL (`port` 0: any free one).

    On leaving, requests in flight are ended as `gateway_stopped`. Raises `OSError` when the port cannot be bound.
    """
    connections: set[ClientConnection] = set()
    bound = _bound(host, port)
    server = await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(handler, connections), sock=bound, backlog=4096
    )
    try:
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{bound.getsockname()[1]}"
    finally:
        server.close()
        await _close(connections)
        await server.wait_closed()


class ClientConnection(asyncio.Protocol):
    """A client's connection: reads requests, runs the handler for one at a time."""

    def __init__(self, handler: Handler, connections: set[ClientConnection]) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._reading = Visit(self)
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._url = b""
        self._queue: deque[Visit] = deque()
        self._visit: Visit | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The handler that runs now."""
        return self._visit.task if self._visit is not None else None

    async def write(self, data: bytes) -> None:
        """Send, then wait until the client has read enough of it."""
        assert self._transport is not None
        self._transport.write(data)
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def abort(self, *, reset: bool = False) -> None:
        """Close at once; `reset` shows it even to a client that takes the end of the connection for the answer's."""
        if self._transport is not None:
            if reset:
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def stop(self) -> None:
        """Take no more requests; the one that runs is ended."""
        self._queue.clear()
        if self._visit is not None:
            self._visit.keep_alive = False
            self._visit.stop("gateway_stopped")
        elif self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        self._queue.clear()
        self.resume_writing()
        if self._visit is not None:
            self._visit.stop("client_gone")

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(400)
            return
        if self._head_bytes > MAX_HEAD:
            self._refuse(431)
        elif self._body_bytes > MAX_BODY:
            self._refuse(413)

    def on_message_begin(self) -> None:
        """See `httptools`."""
        self._reading = Visit(self)
        self._url = b""
        self._body = []
        self._head_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """See `httptools`."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools`."""
        self._head_bytes += len(name) + len(value)
        self._reading.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """See `httptools`."""
        assert self._transport is not None
        if (b"expect", b"100-continue") in self._reading.headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """See `httptools`."""
        self._body_bytes += len(data)
        if self._body_bytes <= MAX_BODY:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """See `httptools`."""
        visit = self._reading
        visit.method = self._parser.get_method().decode()
        visit.target = self._url.decode("latin-1")
        path = visit.target.partition("?")[0]
        visit.path = unquote(path) if "%" in path else path
        visit.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        visit.http_1_0 = self._parser.get_http_version() == "1.0"
        visit.keep_alive = self._parser.should_keep_alive() and not visit.http_1_0
        if self._body_bytes > MAX_BODY or self._head_bytes > MAX_HEAD:
            return
        if self._parser.should_upgrade():  # the parser has not read the body: no request that may be answered
            return
        self._queue.append(visit)
        if self._visit is None:
            self._begin_next()
        elif self._transport is not None:  # pipelined: one in hand is enough
            self._transport.pause_reading()

    def _begin_next(self) -> None:
        visit = self._visit = self._queue.popleft()
        visit.task = self._loop.create_task(self._run(visit))

    async def _run(self, visit: Visit) -> None:
        try:
            await self._handler(visit)
        except asyncio.CancelledError:
            if visit.ended is None:
                raise
        except Exception:  # noqa: BLE001 - a defect of ours may cost this one request, not the server
            _log.exception("%s %s failed", visit.method, visit.path)
            visit.cut()
        finally:
            self._done(visit)

    def _done(self, visit: Visit) -> None:
        self._visit = None
        if self._transport is None or self._transport.is_closing():
            return
        if not visit.keep_alive or not visit.started:
            self._transport.close()
        elif self._queue:
            self._begin_next()
        else:
            self._transport.resume_reading()

    def _refuse(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if self._visit is None:
                self._transport.write(_STATUS_LINES[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()


def _bound(host: str, port: int) -> socket.socket:
    # The protocol must be named: asyncio sets TCP_NODELAY only then, and answers in pieces would wait 40 ms without.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def _close(connections: set[ClientConnection]) -> None:
    running = [connection.task for connection in connections if connection.task is not None]
    for connection in list(connections):
        connection.stop()
    if running:
        await asyncio.wait(running, timeout=_GRACE)
    deadline = asyncio.get_running_loop().time() + _GRACE
    while connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - what is written leaves
        await asyncio.sleep(0.005)
    for connection in list(connections):
        connection.abort()
    await asyncio.sleep(0)
