"""What the gateway costs: the same load straight at a mock engine and through the gateway, in one run.

Three processes: this one asks (raw keep-alive client), one is the mock engine, one the gateway; CPU is each process's
own. Run: `python benchmarks/gateway.py [--requests N] [--in-flight N] [--journal]`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import httptools
import psutil

from clients.gateway import Gateway
from clients.journal import Journal
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from clients.upstream import Upstream

ANSWER = (
    b'{"id":"cmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + b"The answer is 42. " * 20 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x")]


def request(n: int) -> bytes:
    prompt = f"Question {n}: " + "There are 12 apples in each of 7 boxes. " * 20
    return (
        b'{"model":"m","messages":[{"role":"user","content":"%b"}],"max_tokens":512,"temperature":0}' % prompt.encode()
    )


class MockEngine(asyncio.Protocol):
    """Answers each request at once, as cheaply as Python can."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(HEAD + ANSWER)


async def mock_engine(told: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(MockEngine, "127.0.0.1", 0, backlog=4096)
    told.send(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(told.recv)


async def gateway(told: Connection, engine_port: int, journal_path: Path | None) -> None:
    pool = Pool()
    replica = Replica("r0", "127.0.0.1", engine_port)
    pool.add(replica)
    pool.mark_ready(replica)
    journal = Journal(journal_path, fingerprint="bench") if journal_path else None
    served = Gateway(pool, Ledger(), journal, served_model="m", request_timeout=60)
    async with served.serving("127.0.0.1", 0) as url:
        told.send(int(url.rsplit(":", 1)[1]))
        await asyncio.to_thread(told.recv)
    if journal:
        await journal.close()


def child(main: Callable[..., Awaitable[None]], told: Connection, *args: object) -> None:
    asyncio.run(main(told, *args))  # type: ignore[arg-type]


@dataclass
class Process:
    """A server in a process of its own."""

    process: multiprocessing.Process
    told: Connection
    port: int

    @classmethod
    def start(cls, main: Callable[..., Awaitable[None]], *args: object) -> Process:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=child, args=(main, theirs, *args))
        process.start()
        return cls(process, ours, ours.recv())  # type: ignore[arg-type]

    def cpu(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self.told.send("stop")
        self.process.join(10)


@dataclass(frozen=True)
class Load:
    rate: float
    """Requests per second."""
    p50: float
    p99: float
    """Seconds."""
    own_cpu: float
    """Seconds of CPU per request of the asking process."""


async def load(port: int, requests: int, in_flight: int, first: int) -> Load:
    upstream = Upstream("127.0.0.1", port)
    numbers = iter(range(first, first + requests))
    times: list[float] = []

    async def asker() -> None:
        for n in numbers:
            began = time.perf_counter()
            answer = await upstream.send("POST", "/v1/chat/completions", HEADERS, request(n), timeout=60)
            if await answer.read() != ANSWER or answer.status != 200:
                raise SystemExit(f"a wrong answer: {answer.status}")
            times.append(time.perf_counter() - began)

    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(asker())
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    upstream.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    centiles = statistics.quantiles(times, n=100)
    return Load(requests / seconds, centiles[49], centiles[98], cpu / requests)


def show(name: str, measured: Load, cpu: float) -> None:
    print(
        f"{name:20} {measured.rate:7.0f} requests/s"
        f"   p50 {measured.p50 * 1e3:6.2f} ms   p99 {measured.p99 * 1e3:6.2f} ms"
        f"   CPU/request: server {cpu * 1e6:6.1f} us, client {measured.own_cpu * 1e6:6.1f} us"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--in-flight", type=int, default=64)
    options.add_argument("--journal", action="store_true", help="journal every answer")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Process.start(mock_engine)
        path = Path(folder, "answers.jsonl") if chosen.journal else None
        through = Process.start(gateway, engine.port, path)
        try:
            compare(engine, through, chosen.requests, chosen.in_flight)
        finally:
            through.stop()
            engine.stop()


def compare(engine: Process, through: Process, requests: int, in_flight: int) -> None:
    for server in (engine, through):
        asyncio.run(load(server.port, 500, in_flight, 10_000_000))  # warm
    cpus: list[float] = []
    rates: list[float] = []
    for name, server in (("direct", engine), ("through the gateway", through)):
        before = server.cpu()
        measured = asyncio.run(load(server.port, requests, in_flight, 0))
        cpus.append((server.cpu() - before) / requests)
        rates.append(measured.rate)
        show(name, measured, cpus[-1])
    print(f"gateway: {cpus[1] * 1e6:.1f} us of CPU per request, {cpus[1] / cpus[0]:.1f} times the mock engine's;")
    print(f"requests/s: {rates[1] / rates[0]:.2f} of direct")


if __name__ == "__main__":
    main()
