"""The REST service under 10,000 queued jobs: `POST /jobs`, a page of `GET /jobs`, one job, and how they grow.

The service is a process of its own (SQLite); the benchmark holds the only GPU, so that every job stays in the queue.
Beside it, in the same run: `/healthz`, which is what HTTP costs before anything is done, and a bare insert into SQLite
with `synchronous=FULL`, which is what any queue that loses nothing pays on this disk. Times in milliseconds.

    python benchmarks/rest.py [--jobs N] [--clients N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from launchers.gpus import discover, lease_gpus
from orchestrator.assignment import read_address

FIRST = 100  # jobs before the first measurement
PAGES = 100
LABELS = 7


@contextmanager
def service(home: Path) -> Iterator[tuple[str, int]]:
    """URL and process id."""
    env = {**os.environ, "ORCHESTRATOR_HOME": str(home), "ORCHESTRATOR_SERVICE__PORT": "0", "ORCHESTRATOR_GPUS": "1"}
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "orchestrator", "serve"], env=env, stdout=log, stderr=log)
    try:
        while (address := read_address(home)) is None:
            if process.poll() is not None:
                raise SystemExit((home / "service.log").read_text())
            time.sleep(0.05)
        yield address.url, process.pid
    finally:
        process.terminate()
        process.wait()


class Client:
    """One connection that is kept; `seconds` of each request it made."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[float, bytes]:
        """Seconds and body of an answer. Raises: SystemExit for anything but success."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._place.hostname, self._place.port)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.split(b"content-length:")[1].split(b"\r\n")[0])
        told = await reader.readexactly(length)
        if answered.split()[1][:1] != b"2":
            raise SystemExit(told.decode())
        return time.perf_counter() - began, told

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


def spec(number: int) -> bytes:
    command = ["{python}", "-m", "orchestrator.fake_engine", "--port", "{port}", "--load-time", "3600"]
    document = {
        "name": f"job {number}",
        "serve": {"engine": "custom", "model": "fake", "command": command},
        "evaluate": [{"evaluator": "speed"}],
        "labels": {"group": str(number % LABELS)},
    }
    return json.dumps(document).encode()


async def submit(url: str, count: int, clients: int) -> tuple[float, list[float]]:
    """Jobs per second over all clients, and the time of each submission."""
    left = iter(range(count))
    times: list[float] = []

    async def one() -> None:
        client = Client(url)
        for number in left:
            times.append((await client.ask("POST", "/jobs", spec(number)))[0])
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return count / (time.perf_counter() - began), times


async def read(url: str, path: str) -> list[float]:
    """Times of one request after the other, the first few left out."""
    client = Client(url)
    times = [(await client.ask("GET", path))[0] for _ in range(PAGES + 5)]
    client.close()
    return times[5:]


async def middle(url: str, pages: int) -> str:
    """The cursor after so many pages."""
    client, cursor = Client(url), ""
    for _ in range(pages):
        found = json.loads((await client.ask("GET", f"/jobs?limit=200{cursor}"))[1])
        cursor = f"&cursor={found['next_cursor']}" if found["next_cursor"] else ""
    client.close()
    return cursor


def bare_inserts(folder: Path, seconds: float = 1.0) -> float:
    """Inserts per second that are on disk when they return."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, spec TEXT)")
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.execute("INSERT INTO jobs (spec) VALUES (?)", (spec(count).decode(),))
        count += 1
    connection.close()
    return count / seconds


def told(name: str, times: list[float]) -> float:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"  {name:<34} p50 {1000 * p50:7.1f}  p99 {1000 * p99:7.1f}")
    return p50


async def reads(url: str, jobs: int) -> dict[str, float]:
    print(f"{jobs} jobs in the queue:")
    later = await middle(url, jobs // 400)
    return {
        "healthz": told("GET /healthz", await read(url, "/healthz")),
        "page": told("GET /jobs (50)", await read(url, "/jobs")),
        "later": told("GET /jobs (50), from the middle", await read(url, f"/jobs?limit=50{later}")),
        "label": told("GET /jobs?state=queued&label=group:3", await read(url, "/jobs?state=queued&label=group:3")),
    }


async def measure(url: str, service: psutil.Process, jobs: int, clients: int) -> None:
    await submit(url, FIRST, clients)
    few = await reads(url, FIRST)
    before = sum(service.cpu_times()[:2])
    rate, times = await submit(url, jobs - FIRST, clients)
    each = (sum(service.cpu_times()[:2]) - before) / (jobs - FIRST)
    print(f"{jobs - FIRST} submissions by {clients} clients: {rate:.0f}/s, {1000 * each:.1f} ms of processor time each")
    told("POST /jobs", times)
    told("POST /jobs, the first 1000", times[:1000])
    told("POST /jobs, the last 1000", times[-1000:])
    many = await reads(url, jobs)
    growth = ", ".join(f"{name} x{many[name] / few[name]:.2f}" for name in few)
    print(f"growth of p50 from {FIRST} to {jobs} jobs: {growth}")
    print(f"a page costs {many['page'] / many['healthz']:.1f} times as much as /healthz")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--clients", type=int, default=16)
    given = options.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    with tempfile.TemporaryDirectory() as folder:
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"bare inserts into SQLite: {bare_inserts(Path(folder)):.0f}/s")
        held = lease_gpus(Path(folder, "leases", "gpus"), discover(1), owner="the benchmark", count=1)
        with held, service(Path(folder)) as (url, process):
            served = psutil.Process(process)
            asyncio.run(measure(url, served, given.jobs, given.clients))
            print(f"service: {served.memory_full_info().pss / 2**20:.0f} MB")
            # A shared disk is not the same twice: the rate lies between these two.
            print(f"bare inserts into SQLite, afterwards: {bare_inserts(Path(folder, 'leases')):.0f}/s")


if __name__ == "__main__":
    main()
