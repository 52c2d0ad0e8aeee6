"""What every request passes: admission first, then limits, headers for browsers, the logs and the metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.access import REPORTS, Doorman
from orchestrator.api.audit import Audit
from orchestrator.api.limits import Bucket
from orchestrator.api.problems import HttpError, internal_error, problem_response
from orchestrator.errors import OrchestratorError
from orchestrator.store.rows import AuditEntry

LARGEST_REPORT = 4 << 20
"""Bytes of what a runner reports at once."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cache-Control": "no-store",
}
"""Sent with every answer that does not set them itself."""
STRANGERS = 600
"""Refusals of nobody in particular that are written down per minute: others cannot fill the disk."""
_SAFE = ("GET", "HEAD", "OPTIONS")
Observe = Callable[[str, str, int, float], None]
"""Told of each request: (method, route, status, seconds)."""


class Gate:
    """The outermost part of the application."""

    def __init__(
        self, app: ASGIApp, *, doorman: Doorman, audit: Audit, observe: Observe, max_body: int, max_requests: int
    ) -> None:
        self._app = app
        self._doorman = doorman
        self._audit = audit
        self._observe = observe
        self._max_body = max_body
        self._max_requests = max_requests
        self._running = 0
        self._strangers = Bucket(STRANGERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = Passage(scope, send)
        self._running += 1
        try:
            refused = await self._refusal(scope)
            if refused is None:
                await self._app(scope, self._limited(scope, receive), passage.send)
            else:
                await refused(scope, receive, passage.send)
        except Exception as error:  # noqa: BLE001 - whatever a route does, its client gets an answer, and the log why
            scope["state"]["problem"] = "internal_error"
            response = internal_error(error, scope["path"])
            if passage.status == 0:
                await response(scope, receive, passage.send)
        finally:
            self._running -= 1
            self._note(scope, passage)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        try:
            if self._running > self._max_requests:
                raise HttpError(503, "overloaded", f"{self._max_requests} requests are under way", headers=_LATER)
            scope["state"]["caller"] = await self._doorman.admit(scope, headers)
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > self._largest(scope):
                raise self._too_large(scope)
        except OrchestratorError as error:
            scope["state"]["problem"] = error.code
            return problem_response(error)
        return None

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, until more came than a body may hold."""
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._largest(scope):
                raise self._too_large(scope)
            return message

        return limited

    def _largest(self, scope: Scope) -> int:
        return LARGEST_REPORT if REPORTS.fullmatch(scope["path"]) else self._max_body

    def _too_large(self, scope: Scope) -> HttpError:
        # The connection stays open: what still comes is thrown away, and the client gets to read why.
        return HttpError(413, "payload_too_large", f"the body is larger than {self._largest(scope)} bytes")

    def _note(self, scope: Scope, passage: Passage) -> None:
        route = getattr(scope.get("route"), "path", None)
        self._observe(scope["method"], route or "(none)", passage.status, time.perf_counter() - passage.began)
        if REPORTS.fullmatch(scope["path"]) is None and (scope["method"] not in _SAFE or passage.status in (401, 403)):
            self._write_down(scope, passage, route or scope["path"])

    def _write_down(self, scope: Scope, passage: Passage, route: str) -> None:
        state = scope["state"]
        caller = state.get("caller")
        done = 0 < passage.status < 400
        if caller is None and not done and not self._strangers.may():
            return
        self._audit.note(
            AuditEntry(
                time=time.time(),
                token=caller.name if caller else None,
                action=f"{scope['method']} {route}",
                target=passage.location or scope["path"],
                outcome="done" if done else state.get("problem", f"http_{passage.status}"),
                detail={"status": passage.status, "from": scope["client"][0] if scope["client"] else None},
            )
        )


class Passage:
    """One answer on its way out."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.began = time.perf_counter()
        self.status = 0
        """0 when the client left before it got one."""
        self.location: str | None = None
        self._send: Callable[[Message], Awaitable[Any]] = send

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one with the headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            self.location = headers.get("location")
        await self._send(message)


_LATER = {"Retry-After": "1"}
