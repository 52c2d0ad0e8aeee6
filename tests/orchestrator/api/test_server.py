"""The server below the routes: what it does to clients that are slow, garbled or too large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from launchers.errors import PortInUse
from orchestrator.api.app import create_app
from orchestrator.api.server import LARGEST_HEAD, http_server
from tests.orchestrator.api.support import Running, raw, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hasty(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service that gives a request half a second to arrive."""
    async with running(new_home(), request_timeout=0.5) as service:
        yield service


async def test_a_client_that_says_nothing_is_let_go(hasty: Running) -> None:
    assert (await raw(hasty))[0] == 408


async def test_a_client_whose_headers_never_end_is_let_go(hasty: Running) -> None:
    status, told = await raw(hasty, HEAD, b"X-A: 1\r\n")
    assert (status, told["code"]) == (408, "request_timeout")


async def test_a_client_whose_body_never_ends_is_let_go(hasty: Running) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    assert (await raw(hasty, head, b"{"))[0] == 408


async def test_a_connection_that_waits_between_requests_is_kept(hasty: Running) -> None:
    place = urlsplit(hasty.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for _ in range(2):
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(15) == b'{"status":"ok"}'
        await asyncio.sleep(0.7)  # longer than a request may take
    writer.close()


async def test_headers_without_end_are_refused(hasty: Running) -> None:
    status, told = await raw(hasty, HEAD, b"X-A: " + b"a" * (LARGEST_HEAD + 1))
    assert (status, told["code"]) == (431, "headers_too_large")


async def test_what_is_not_http_is_refused(hasty: Running) -> None:
    status, told = await raw(hasty, b"hello\r\n\r\n")
    assert (status, told["code"]) == (400, "bad_request")


async def test_a_port_that_is_taken_is_told(hasty: Running) -> None:
    port = urlsplit(hasty.url).port
    service = hasty.settings.service.model_copy(update={"port": port})
    settings = hasty.settings.model_copy(update={"service": service})
    app = create_app(hasty.service, settings)
    with pytest.raises(PortInUse, match=f"127.0.0.1:{port}"):
        async with http_server(app, settings):
            pass


async def test_answers_carry_what_browsers_must_be_told(hasty: Running) -> None:
    for path in ("/healthz", "/nope", "/openapi.json"):
        headers = (await hasty.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
