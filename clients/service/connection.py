"""HTTP to the service: one place that decides what is asked again after something went wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from clients.service.errors import (
    BadRequest,
    RateLimited,
    ServiceError,
    ServiceFailed,
    ServiceNotReady,
    ServiceUnreachable,
    error_of,
)

CONNECT = 5.0
"""Seconds for a connection."""
SILENCE = 45.0
"""Seconds without a byte after which a stream counts as lost; the service writes every 15 s."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


class Connection:
    """Requests to one service, each tried again as far as that cannot do anything twice.

    A request that did not reach the service (refused, 429, 503) is sent again for `patience` seconds; one whose answer
    was lost only where the caller says that it may be (`again`). A service that never answered is not waited for.
    """

    def __init__(self, url: str, token: str | None, timeout: float, patience: float) -> None:
        """Raises: BadRequest for what is no URL."""
        host = _host_of(url)
        self.url = url.rstrip("/")
        self._patience = patience
        self._met = False
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(timeout, connect=CONNECT),
            trust_env=host not in _LOOPBACK,  # a proxy of the environment does not lead to this machine
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def ask(self, method: str, path: str, *, again: bool = False, **parts: Any) -> httpx.Response:
        """The whole answer to a request; `parts` as httpx takes them (`json`, `content`, `params`, `headers`).

        Raises: ServiceError.
        """
        request = self._http.build_request(method, path, **parts)
        return self._answered(request, again=again, stream=False)

    def ask_json(self, method: str, path: str, *, again: bool = False, **parts: Any) -> Any:
        """The document that answers. Raises: ServiceError."""
        answer = self.ask(method, path, again=again, **parts)
        try:
            return answer.json()
        except ValueError:
            told = f"{answer.request.url} answered {answer.status_code} with {answer.text[:100]!r}"
            raise ServiceFailed(told, hint="is this the URL of the service?") from None

    @contextlib.contextmanager
    def streaming(
        self, path: str, *, silence: float = SILENCE, headers: Mapping[str, str] | None = None, **parts: Any
    ) -> Iterator[httpx.Response]:
        """An answer to a GET that is read as it comes; once begun, lost after `silence` seconds without a byte.

        Raises: ServiceError for what comes back in its place; httpx.TransportError while it is read.
        """
        request = self._http.build_request("GET", path, headers=headers, **parts)
        answer = self._answered(request, again=True, stream=True)
        request.extensions["timeout"]["read"] = silence  # a slow beginning is no silence
        try:
            yield answer
        finally:
            answer.close()

    def _answered(self, request: httpx.Request, *, again: bool, stream: bool) -> httpx.Response:
        end = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            answer = self._attempt(request, again=again, stream=stream)
            if isinstance(answer, httpx.Response):
                return answer
            wait = max(pause, answer.retry_after or 0.0)
            if time.monotonic() + wait > end:
                raise answer
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self, request: httpx.Request, *, again: bool, stream: bool) -> httpx.Response | ServiceError:
        """The answer, or an error after which the same request may be sent again. Raises: every other error."""
        try:
            answer = self._http.send(request, stream=stream)
            if not answer.is_success:
                answer.read()
        except httpx.TransportError as error:
            unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            lost = self._lost(error, unsent=unsent)
            if self._met and (unsent or again):
                return lost
            raise lost from error
        self._met = True
        if answer.is_success:
            return answer
        problem = error_of(answer)
        if isinstance(problem, RateLimited | ServiceNotReady):
            return problem
        raise problem

    def _lost(self, error: httpx.TransportError, *, unsent: bool) -> ServiceUnreachable:
        told = str(error) or type(error).__name__
        if unsent:
            hint = "start it with `orchestrator serve`, or say where it is: --service URL or ORCHESTRATOR_URL"
            return ServiceUnreachable(f"no service answers at {self.url}: {told}", hint=hint)
        hint = "whether it was done is not known: look before you ask again"
        return ServiceUnreachable(f"the connection to {self.url} broke: {told}", hint=hint)


def _host_of(url: str) -> str:
    """Raises: BadRequest."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass  # a port that is no number, a bracket that is not closed
    raise BadRequest(f"{url!r} is not a URL of a service", hint="e.g. http://127.0.0.1:8420")
