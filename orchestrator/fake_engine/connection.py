"""One HTTP/1.1 connection: requests in, answers out, and the ways in which it can fail its client."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http import HTTPStatus

import httptools

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    """Without the query."""
    body: bytes


class Connection(asyncio.Protocol):
    """Reads requests, hands them to `handle` one at a time, and sends what it answers.

    `handle` answers at once and returns None, or returns a coroutine that will; the connection owns that
    coroutine's task and cancels it when the client goes away. `close_idle`: seconds, None keeps for ever.
    """

    def __init__(self, handle: Handler, close_idle: float | None) -> None:
        self._handle = handle
        self._close_idle = close_idle
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._body = b"", bytearray()
        self._busy, self._keep_alive, self._streaming = False, True, False
        self._begins = True  # the next byte to come is the first of a request
        self.arrived = 0.0
        """When the latest request arrived, in monotonic seconds; only `TimedConnection` knows."""

    def answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        """Send a whole answer."""
        self._transport.write(self._head(status, content_type, f"content-length: {len(body)}") + body)
        self._done()

    def stream(self, chunk: bytes) -> None:
        """Send one chunk of an event stream; the first one opens it, an empty one ends it."""
        if not self._streaming:
            self._streaming = True
            self._transport.write(self._head(200, "text/event-stream", "transfer-encoding: chunked"))
        self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not chunk:
            self._done()

    def cut(self, status: int, body: bytes) -> None:
        """Promise the whole of `body`, send half of it and close."""
        head = self._head(status, "application/json", f"content-length: {len(body)}")
        self._transport.write(head + body[: len(body) // 2])
        self._transport.close()

    def close(self) -> None:
        """Send what is still unsent, then close."""
        self._transport.close()

    def reset(self) -> None:
        """Reset: the client sees `connection reset by peer`, not an orderly end."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away: nobody waits for the answer any more."""
        self._stir()
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._stir()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._keep_alive = False
            self.answer(400, b'{"error":{"message":"this is not HTTP"}}')

    def on_message_begin(self) -> None:
        """A request starts (called by the parser)."""
        self._begins = False
        self._target, self._body = b"", bytearray()

    def on_url(self, url: bytes) -> None:
        """A piece of the target (called by the parser)."""
        self._target += url

    def on_body(self, body: bytes) -> None:
        """A piece of the body (called by the parser)."""
        self._body += body

    def on_message_complete(self) -> None:
        """A request is whole (called by the parser)."""
        self._begins = True
        path = self._target.partition(b"?")[0].decode("latin-1")
        request = Request(self._parser.get_method().decode("ascii"), path, bytes(self._body))
        self._waiting.append((request, bool(self._parser.should_keep_alive())))
        self._next()

    def _next(self) -> None:
        """Answers leave in the order of the requests: the next one starts when the one before is done."""
        if self._busy or not self._waiting or self._transport.is_closing():
            return
        request, self._keep_alive = self._waiting.popleft()
        self._busy, self._streaming = True, False
        work = self._handle(request, self)
        if work is not None:
            self._task = asyncio.get_running_loop().create_task(work)

    def _done(self) -> None:
        self._busy = False
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._rest()

    def _rest(self) -> None:
        if self._close_idle is not None:
            self._idle = asyncio.get_running_loop().call_later(self._close_idle, self._transport.close)

    def _stir(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

    def _head(self, status: int, content_type: str, length: str) -> bytes:
        end = "" if self._keep_alive else "connection: close\r\n"
        reason = _PHRASES.get(status, "Fake")
        return f"HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{length}\r\n{end}\r\n".encode()


Handler = Callable[[Request, Connection], Coroutine[None, None, None] | None]
"""What answers a request: at once, or later by the coroutine that it returns."""
