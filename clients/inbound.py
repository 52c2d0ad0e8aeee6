"""The gateway's inbound side: uvicorn inside the caller's event loop, without its signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONNECTION = "clients.connection"
"""Where the scope of a request holds its `ClientConnection`."""


class ClientConnection(HttpToolsProtocol):
    """A client's connection that tells at once when the client is gone; plain ASGI needs a task for it."""

    on_gone: Callable[[], None] | None = None

    def on_headers_complete(self) -> None:
        """See `httptools`."""
        super().on_headers_complete()
        scope: Any = self.cycle.scope
        scope[CONNECTION] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    async def cut(self) -> None:
        """Close without ending the answer properly, so that the client sees that it is broken."""
        self.on_gone = None
        self.transport.abort()
        await asyncio.sleep(0)  # the loss of the connection is told by the event loop


@contextlib.asynccontextmanager
async def listening(app: App, host: str, port: int, *, before_stop: Callable[[], None]) -> AsyncIterator[str]:
    """Serve `app` for the length of the block; gives the URL (`port` 0: any free one).

    `before_stop` ends the requests in flight; what is left of them after 2 s is cancelled. Raises `OSError`
    when the port cannot be bound.
    """
    with _bound(host, port) as bound:
        server = _Server(_config(app))
        serving = asyncio.create_task(server.serve(sockets=[bound]), name="gateway")
        try:
            await server.listens.wait()
            name = f"[{host}]" if ":" in host else host
            yield f"http://{name}:{bound.getsockname()[1]}"
        finally:
            before_stop()
            server.should_exit = True
            await serving


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=ClientConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=4096,
        timeout_keep_alive=300,
        timeout_graceful_shutdown=2,
    )


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
