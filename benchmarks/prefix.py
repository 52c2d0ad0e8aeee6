"""Prefix affinity: two groups of prompts over four engines that each remember only so many prefixes.

The prompts of a group share a long beginning, as few-shot prompts do; the groups come mixed. The engines are the
product's fake one: a prompt whose prefix is remembered takes a tenth of the latency. Every policy gets fresh engines
and the same requests; the first one printed is what the others are compared with.

    python benchmarks/prefix.py [--requests N] [--groups N] [--replicas N] [--cache N]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
from peers.load import CHAT, HEADERS
from peers.servers import Server, free_port, started

from clients.gateway import Gateway
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from clients.routing import POLICIES, policy
from clients.upstream import Upstream

COUNTER = re.compile(r"fake:prefix_(hits|misses)_total\{.*\} (\d+)")


@dataclass(frozen=True)
class Outcome:
    """One policy."""

    hits: float
    """Share of the requests whose prefix was remembered."""
    seconds: float
    latency: float
    """Mean seconds of a request."""
    served: list[int]
    """Requests of each replica."""


def main() -> None:
    given = _arguments()
    first: Outcome | None = None
    print(f"{'':18}{'hits':>8}{'mean ms':>10}{'wall s':>8}   requests of each replica")
    for name in POLICIES:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            engines = [_engine(running, Path(folder, str(n)), given) for n in range(given.replicas)]
            outcome = asyncio.run(measure(name, engines, given))
        first = first or outcome
        print(
            f"{name:18}{outcome.hits:8.1%}{outcome.latency * 1e3:10.1f}{outcome.seconds:8.2f}   {outcome.served}",
            end="",
        )
        print(f"   hits x {outcome.hits / first.hits:.2f}, wall x {outcome.seconds / first.seconds:.2f}")


async def measure(name: str, engines: list[Server], given: argparse.Namespace) -> Outcome:
    pool, ledger = Pool(policy(name)), Ledger()
    for number, engine in enumerate(engines):
        replica = Replica(f"replica-{number}", "127.0.0.1", engine.port)
        pool.add(replica)
        pool.mark_ready(replica)
    gateway = Gateway(pool, ledger, None, served_model="fake", request_timeout=60)
    before = await _counted(engines)
    began = time.perf_counter()
    async with gateway.serving("127.0.0.1", 0) as url:
        await _ask(int(url.rsplit(":", 1)[1]), given)
    seconds = time.perf_counter() - began
    hits, misses = (after - old for after, old in zip(await _counted(engines), before, strict=True))
    return Outcome(hits / (hits + misses), seconds, ledger.latency.total / ledger.latency.count, _served(pool))


async def _ask(port: int, given: argparse.Namespace) -> None:
    upstream, numbers = Upstream("127.0.0.1", port), iter(range(given.requests))

    async def asker() -> None:
        for number in numbers:
            examples = f"These are the examples of group {number % given.groups}. " * 20
            body = orjson.dumps({"messages": [{"role": "user", "content": f"{examples} Question {number}?"}]})
            answer = await upstream.send("POST", CHAT, HEADERS, body, timeout=60)
            await answer.read()
            if answer.status != 200:
                raise SystemExit(f"a wrong answer: {answer.status}")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(given.in_flight):
            tasks.create_task(asker())
    upstream.close()


async def _counted(engines: list[Server]) -> tuple[int, int]:
    """Hits and misses of all engines so far."""
    counts = {"hits": 0, "misses": 0}
    async with httpx.AsyncClient(trust_env=False) as http:
        for engine in engines:
            page = await http.get(f"http://127.0.0.1:{engine.port}/metrics")
            for kind, count in COUNTER.findall(page.text):
                counts[kind] += int(count)
    return counts["hits"], counts["misses"]


def _served(pool: Pool) -> list[int]:
    return [replica.served for replica in pool.replicas]


def _engine(running: ExitStack, log: Path, given: argparse.Namespace) -> Server:
    port = free_port()
    options = {"--port": port, "--slots": given.slots, "--latency": given.latency, "--prefix-cache": given.cache}
    flags = [str(part) for pair in options.items() for part in pair]
    command = [sys.executable, "-m", "orchestrator.fake_engine", "--host", "127.0.0.1", *flags]
    return running.enter_context(started(command, port, log))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--requests", type=int, default=1000, help="default: 1000")
    add("--in-flight", type=int, default=64, help="default: 64")
    add("--groups", type=int, default=2, help="groups of prompts (default: 2)")
    add("--replicas", type=int, default=4, help="default: 4")
    add("--cache", type=int, default=1, help="prefixes that an engine remembers (default: 1)")
    add("--slots", type=int, default=20, help="generations at once of an engine (default: 20)")
    add("--latency", type=float, default=0.2, help="seconds of a request whose prefix is not remembered (default: 0.2)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
