"""One keep-alive HTTP/1.1 connection to an engine, and the answer that arrives on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from clients.errors import Cause, UpstreamError

Headers = list[tuple[bytes, bytes]]

_PAUSE_ABOVE = 1 << 20  # bytes of a streamed answer that wait for a slow reader before the socket is paused
_RESUME_BELOW = 1 << 18


@dataclass(slots=True)
class Traffic:
    """What all connections to one server have seen."""

    last_byte: float = float("-inf")
    """Monotonic time, in seconds, of the last byte that came from the server; -inf before the first."""


class UpstreamResponse:
    """An answer as it arrives: `status` and `headers` first, then the body, whole or piece by piece.

    Iterating gives the body without its framing, as many bytes at a time as have come; a reader that falls
    behind pauses the socket. Either way `UpstreamError` is raised when the answer is cut or stays silent too
    long.
    """

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: Headers = []
        self.complete = False
        self._connection = connection
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._wanted = 0  # bytes that the reader waits for; it need not be woken before
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> bytes:
        """The value of the first header called `name` (lower case), or empty."""
        return next((value for key, value in self.headers if key == name), b"")

    async def started(self) -> None:
        """Return once status and headers are here."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self, most: int = sys.maxsize) -> bytes:
        """The rest of the body, all of it; of one longer than `most` bytes its beginning (`complete` is False)."""
        self._wanted = most
        while not self.complete and self._waiting_bytes <= most:
            if self._error is not None:
                raise self._error
            self._connection.resume()
            await self._wait()
        self._wanted = 0
        return self._take()

    def __aiter__(self) -> UpstreamResponse:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.complete:
                raise StopAsyncIteration
            await self._wait()
        return self._take()

    def abort(self) -> None:
        """Close the connection if the answer is not complete: the engine sees that nobody waits any more."""
        if not self.complete:
            self._connection.abort()

    def begin(self, status: int) -> None:
        """Status and headers are complete (called by the connection)."""
        self.status = status
        self._wake()

    def add(self, data: bytes) -> bool:
        """Another piece of the body; True when the reader is too far behind (called by the connection)."""
        self._chunks.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > self._wanted:
            self._wake()
        return self._waiting_bytes > max(self._wanted, _PAUSE_ABOVE)

    def finish(self, error: UpstreamError | None) -> None:
        """Nothing more comes (called by the connection)."""
        self._error = error
        self.complete = error is None
        self._wake()

    def _take(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting_bytes = 0
        if not self.complete:
            self._connection.resume()
        return data

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time.

    `released(connection, reusable)` is called once per request when its answer is complete, and once with
    False when the connection is lost.
    """

    def __init__(self, traffic: Traffic, released: Callable[[Connection, bool], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._traffic = traffic
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: UpstreamResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = 0.0
        self._last_byte = 0.0
        self._touched = False  # a byte of the current answer has come
        self._framed = False  # the answer says where it ends; else it ends when the server closes
        self._paused = False

    @property
    def usable(self) -> bool:
        """Open and free."""
        return self._transport is not None and not self._transport.is_closing() and self._response is None

    def start(self, request: bytes, timeout: float) -> UpstreamResponse:
        """Send one request, head and body; `timeout` is in seconds without a single byte."""
        assert self._transport is not None
        response = self._response = UpstreamResponse(self)
        self._touched = self._framed = False
        self._timeout = timeout
        self._last_byte = self._loop.time()
        if self._timer is None or self._timer.when() > self._last_byte + timeout:
            self._set_timer(timeout)
        self._transport.write(request)
        return response

    def resume(self) -> None:
        """Read on after a pause."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._last_byte = self._loop.time()  # the silence was ours
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; what is in flight fails as `cut` or `reset`."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._traffic.last_byte = self._last_byte = self._loop.time()
        self._touched = True
        if self._response is None:  # bytes that nobody asked for: the connection cannot be trusted
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail("cut", f"the answer is not HTTP ({error})")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._response is not None:
            if self._response.status and not self._framed and exc is None:
                self._complete()
            elif self._touched:
                self._fail("cut", "the connection was closed in the middle of the answer")
            else:
                self._fail("reset", f"the connection was closed before any answer{f' ({exc})' if exc else ''}")
        if self._timer is not None:
            self._timer.cancel()
        self._released(self, False)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools`."""
        assert self._response is not None
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framed = True
        self._response.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """See `httptools`."""
        assert self._response is not None
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self._response.headers.clear()
            return
        if status in (204, 304):
            self._framed = True
        self._response.begin(status)

    def on_body(self, data: bytes) -> None:
        """See `httptools`."""
        assert self._response is not None
        if self._response.add(data) and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """See `httptools`."""
        if self._response is not None and self._response.status:
            self._complete()

    def _complete(self) -> None:
        reusable = self._framed and self._parser.should_keep_alive()
        self.resume()
        self._end(None)
        if not reusable:
            self.abort()
        else:
            self._released(self, True)

    def _fail(self, cause: Cause, message: str) -> None:
        self._end(UpstreamError(message, cause=cause))

    def _end(self, error: UpstreamError | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.finish(error)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        """The timer outlives the requests: one for each of them would cost as much as all the rest of `start`."""
        self._timer = None
        if self._response is None:
            return
        silent = 0.0 if self._paused else self._loop.time() - self._last_byte
        if silent < self._timeout:
            self._set_timer(self._timeout - silent)
            return
        self._fail("timeout", f"not a byte of the answer for {self._timeout:g} s")
        self.abort()
