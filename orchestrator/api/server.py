"""The HTTP server around the application: uvicorn, with what it does not limit by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Generator
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from launchers.errors import PortInUse
from orchestrator.api.peers import user_of
from orchestrator.api.problems import MEDIA_TYPE
from orchestrator.settings import Settings

LARGEST_HEAD = 64 * 1024
"""Bytes of a request's first line and headers."""
GRACE = 3.0
"""Seconds that running requests get when the service stops."""


@contextlib.asynccontextmanager
async def http_server(app: FastAPI, settings: Settings) -> AsyncIterator[str]:
    """Serve `app` in the running loop at `settings.service.host` and `port`; yields its URL.

    Event streams end when the block does; other requests are finished. Signals are the caller's.
    Raises: PortInUse.
    """
    service = settings.service
    with _listening(service.host, service.port) as listener:
        config = uvicorn.Config(
            app,
            http=_protocol(service.request_timeout, ask_peer=not service.exposed),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE,  # type: ignore[arg-type]
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells in no other way
                await asyncio.sleep(0.01)
            if serving.done():
                serving.result()
            yield _url(service.host, listener.getsockname()[1])
        finally:
            app.state.closing.set()
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Leaves signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: who runs the service decides what a signal means."""
        yield


@contextlib.contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as error:
            hint = "stop what listens there, or choose another with --port"
            raise PortInUse(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from None
        listener.setblocking(False)
        yield listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _protocol(timeout: float, *, ask_peer: bool) -> type[HttpToolsProtocol]:
    """A connection whose requests arrive whole within `timeout` seconds; knows the user at its other end."""

    class Connection(HttpToolsProtocol):
        """One client's connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head = 0
            self._deadline: asyncio.TimerHandle | None = self.loop.call_later(timeout, self._too_slow)
            self._user = user_of(self.client, self.server) if ask_peer and self.client and self.server else None  # type: ignore[arg-type]

        def connection_lost(self, exc: Exception | None) -> None:
            self._whole()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            in_head = self._head >= 0
            super().data_received(data)
            if in_head and self._head >= 0:
                self._head += len(data)
                if self._head > LARGEST_HEAD:
                    self._refuse(431, "headers_too_large", f"more than {LARGEST_HEAD} bytes before the body")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head = 0
            self.scope["state"]["user"] = self._user
            self._deadline = self._deadline or self.loop.call_later(timeout, self._too_slow)

        def on_headers_complete(self) -> None:
            self._head = -1
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._whole()
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, "bad_request", "this is not HTTP/1.1")

        def _whole(self) -> None:
            if self._deadline:
                self._deadline.cancel()
                self._deadline = None

        def _too_slow(self) -> None:
            self._deadline = None
            answered = self._head < 0 and self.cycle.response_started
            if answered:
                self.transport.close()
            else:
                self._refuse(408, "request_timeout", f"the request did not arrive within {timeout:g} s")

        def _refuse(self, status: int, code: str, detail: str) -> None:
            if not self.transport.is_closing():
                self.transport.write(_raw_problem(status, code, detail))
                self.transport.close()

    return Connection


def _raw_problem(status: int, code: str, detail: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    problem: dict[str, Any] = {"type": "about:blank", "title": phrase, "status": status, "detail": detail, "code": code}
    body = json.dumps({**problem, "hint": "", "errors": []}).encode()
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body
