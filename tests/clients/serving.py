"""A gateway over real engines, for the length of a test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import TypeAdapter

from clients.gateway import Gateway
from clients.journal import Journal
from clients.ledger import Ledger
from clients.pool import Pool
from clients.records import RequestRecords
from clients.replica import Replica
from clients.routing import policy
from clients.rules import build_rules
from clients.spec import RuleSpec

RULE_SPECS: TypeAdapter[list[RuleSpec]] = TypeAdapter(list[RuleSpec])
CHAT_REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hello"}],
    "temperature": 0,
}


@dataclass
class Served:
    """A gateway that listens, and a client of it."""

    url: str
    pool: Pool
    ledger: Ledger
    replicas: list[Replica]
    http: httpx.AsyncClient

    async def chat(self, **more: Any) -> httpx.Response:
        headers = more.pop("headers", None)
        return await self.http.post("/v1/chat/completions", json={**CHAT_REQUEST, **more}, headers=headers)

    async def marked(self, **more: Any) -> httpx.Response:
        return await self.chat(headers={"x-orchestrator-on-failure": "mark"}, **more)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@contextlib.asynccontextmanager
async def serve_pool(
    *ports: int,
    journal: Journal | None = None,
    model: str | None = None,
    api_key: str | None = None,
    ready: bool = True,
    timeout: float = 5.0,
    attempts: int = 3,
    rules: Sequence[dict[str, Any]] = (),
    records: RequestRecords | None = None,
    routing: str = "least_in_flight",
) -> AsyncIterator[Served]:
    pool, ledger = Pool(policy(routing)), Ledger()
    replicas = [Replica(f"r{n}", "127.0.0.1", port, model, api_key) for n, port in enumerate(ports)]
    for replica in replicas:
        pool.add(replica)
        if ready:
            pool.mark_ready(replica)
    gateway = Gateway(
        pool,
        ledger,
        journal,
        served_model="m",
        request_timeout=timeout,
        attempts=attempts,
        backoff=0.01,
        rules=build_rules(RULE_SPECS.validate_python(list(rules))),
        records=records,
    )
    async with (
        gateway.serving("127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10, verify=False) as http,
    ):
        yield Served(url, pool, ledger, replicas, http)
    assert ledger.asked == ledger.answered + ledger.failed
    assert ledger.in_flight == 0
    assert [replica.in_flight for replica in replicas] == [0] * len(replicas)
    assert [replica.upstream.connections for replica in replicas] == [0] * len(replicas)
