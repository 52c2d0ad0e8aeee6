"""The service as it runs, in this process, over real HTTP; its jobs on the fake engine in runners of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from orchestrator.api.app import create_app
from orchestrator.api.server import http_server
from orchestrator.policy import Policy
from orchestrator.service.core import Service
from orchestrator.settings import ServiceSettings, Settings
from orchestrator.store.rows import Role
from orchestrator.store.store import Store
from tests.orchestrator.support import FAKE, PLUGIN, ROWS

T = TypeVar("T")
MISSING = "20260101-000000-000000"
"""Id of no job."""


@dataclass(frozen=True)
class Running:
    """A service that runs, and a client of it without a token."""

    service: Service
    settings: Settings
    url: str
    client: httpx.AsyncClient

    async def submit(self, spec: dict[str, Any], **headers: str) -> dict[str, Any]:
        """A job that was queued."""
        answer = await self.client.post("/jobs", json=spec, headers=headers)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def over(self, job: str, timeout: float = 60) -> dict[str, Any]:
        """The job once it is in a terminal state and its runner is gone."""

        async def ended() -> dict[str, Any] | None:
            row = self.service.store.job(job)
            if row is None or not row.state.terminal or row.attempt_open:
                return None
            answer: dict[str, Any] = (await self.client.get(f"/jobs/{job}")).json()
            return answer

        return await wait_for(ended, f"end of job {job}", timeout)

    def token(self, name: str, role: str, **limits: int) -> dict[str, str]:
        """Headers of a caller with a new token."""
        _, secret = self.service.store.tokens.add(name, Role(role), **limits)
        return {"Authorization": f"Bearer {secret}"}


@contextlib.asynccontextmanager
async def running(
    home: Path, *, gpus: int = 0, policy: Policy | None = None, **service_settings: Any
) -> AsyncIterator[Running]:
    """A service with a home of its own, on a machine with so many declared GPUs."""
    settings = Settings(
        home=home, gpus=gpus, service=ServiceSettings(**{"port": 0, **service_settings}), policy=policy or Policy()
    )
    service = Service.open(settings)
    try:
        with variables(ORCHESTRATOR_HOME=str(home), ORCHESTRATOR_GPUS=str(gpus), PYTHONPATH=str(PLUGIN)):
            app = create_app(service, settings)
            async with (
                http_server(app, settings) as url,
                service.running(url),
                httpx.AsyncClient(base_url=url, timeout=30) as client,
            ):
                yield Running(service, settings, url, client)
    finally:
        service.close()


@contextlib.asynccontextmanager
async def exposed_to_the_network(home: Path, **settings: Any) -> AsyncIterator[Running]:
    """A service at every address of this machine, with a client that has no token."""
    store = Store.open(Settings(home=home).store_url)
    store.tokens.add("first", Role.ADMIN)
    store.close()
    async with running(home, host="0.0.0.0", **settings) as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield replace(service, url=url, client=client)


@contextlib.asynccontextmanager
async def blocked(service: Running) -> AsyncIterator[None]:
    """While it lasts a job that loads for ever holds the GPU."""
    blocker = await service.submit(job_spec("--load-time", "3600", name="blocker"))

    async def placed() -> bool:
        return service.service.store.job(blocker["id"]).attempt_open  # type: ignore[union-attr]

    await wait_for(placed, "start of the blocker")
    try:
        yield
    finally:
        await service.service.cancel(blocker["id"])
        await service.over(blocker["id"])


@contextlib.contextmanager
def variables(**changes: str) -> Iterator[None]:
    """Environment variables of this process, which the runners inherit."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def job_spec(*engine: str, limit: int = 5, **changes: Any) -> dict[str, Any]:
    """A job on the fake engine that ends in a second or two."""
    return {
        "serve": {"engine": "custom", "model": "fake", "command": [*FAKE, *engine]},
        "evaluate": [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": limit, "concurrency": 4}],
        "probe": {"fidelity": {"enabled": False}},
        **changes,
    }


async def wait_for(condition: Callable[[], Awaitable[T | None]], what: str, timeout: float = 60) -> T:
    """The first true value of `condition`, asked until `timeout`."""
    deadline = time.monotonic() + timeout
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"no {what} within {timeout} s"
        await asyncio.sleep(0.02)
    return found


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = json.loads(answer.content)
    assert (told["status"], told["code"]) == (status, code)
    assert set(told) == {"type", "title", "status", "detail", "code", "hint", "errors"}
    return told


async def raw(service: Running, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Status and body of what comes back for these bytes, up to the end of the connection."""
    place = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
