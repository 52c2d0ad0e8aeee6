"""What the gateway costs beside its peers: the same load at the same mock engine, straight and through each of them.

Every server is a process of its own; CPU and memory are those of its whole tree. `added` is what p50 and p99 of the
client's time exceed those straight at the engine, at `--rate` requests per second; the ratios at the end are against
our gateway, without the journal. What is not installed is left out with the reason.

    python benchmarks/gateway.py                                     about a minute
    python benchmarks/gateway.py --in-flight 64 512 2000 --seconds 4
    python benchmarks/gateway.py --soak 200000 --only ours           does memory grow?
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from peers import servers
from peers.load import Load, closed, paced

GATEWAYS: Mapping[str, servers.Command] = {
    "ours": servers.ours,
    "ours+journal": servers.ours_journaling,
    "aiohttp": servers.aiohttp_forwarder,
    "nginx": servers.nginx,
    "litellm": servers.litellm,
}
DIRECT = "direct"
PATIENCE = 15.0
"""Seconds that the requests in flight may take."""


@dataclass(frozen=True)
class Row:
    """One server under one load."""

    name: str
    load: Load
    cpu: float
    """Seconds per request."""
    memory: float
    """MB."""


def main() -> None:
    given = _arguments()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        engine = _start(running, DIRECT, servers.mock_engine(given.chunks, given.interval), 0, Path(folder))
        assert engine is not None
        wanted = {name: command for name, command in GATEWAYS.items() if name in given.only}
        if given.soak:
            for name, command in wanted.items():
                if server := _start(running, name, command, engine.port, Path(folder)):
                    soak(name, server, given.soak)
            return
        started = {
            name: server
            for name, command in wanted.items()
            if (server := _start(running, name, command, engine.port, Path(folder)))
        }
        compare({DIRECT: engine} | started, given)


def compare(running: Mapping[str, servers.Server], given: argparse.Namespace) -> None:
    _sweep(running, given, 0)
    if given.chunks:
        _sweep(running, given, given.chunks)
    show_added(running, given.rate, given.seconds)


def show(title: str, rows: Sequence[Row], chunks: int = 0) -> None:
    print(f"\n{title}")
    print(
        f"{'':14}{'requests/s':>12}{'CPU us/req':>12}{'p50 ms':>9}{'p99 ms':>9}{'RSS MB':>8}{'client CPU':>12}", end=""
    )
    print(f"{'CPU us/chunk':>14}" if chunks else "")
    for row in rows:
        load = row.load
        print(f"{row.name:14}{load.rate:12.0f}{row.cpu * 1e6:12.1f}{load.p50 * 1e3:9.2f}{load.p99 * 1e3:9.2f}", end="")
        print(f"{row.memory:8.0f}{load.client:12.0%}", end="")
        print(f"{row.cpu * 1e6 / chunks:14.1f}" if chunks else "")
    cost = {row.name: row.cpu for row in rows}
    if ours := cost.get("ours"):
        others = ", ".join(f"{name} {cpu / ours:.2f}" for name, cpu in cost.items() if name != "ours")
        print(f"CPU per request over ours: {others}")


def show_added(running: Mapping[str, servers.Server], rate: float, seconds: float) -> None:
    print(f"\nadded at {rate:.0f} requests/s")
    print(f"{'':14}{'p50 ms':>9}{'p99 ms':>9}{'CPU us/req':>12}")
    straight: Load | None = None
    for name, server in running.items():
        if name == "litellm":
            print(f"{name:14}left out: it does not reach this rate on one CPU")
            continue
        before = server.cpu
        load = asyncio.run(paced(server.port, rate=rate, seconds=seconds))
        straight = straight or load
        p50, p99 = load.p50 - straight.p50, load.p99 - straight.p99
        cpu = (server.cpu - before) / load.requests
        note = f"  (itself {load.p50 * 1e3:.2f} and {load.p99 * 1e3:.2f})" if name == DIRECT else ""
        print(f"{name:14}{p50 * 1e3:9.2f}{p99 * 1e3:9.2f}{cpu * 1e6:12.1f}{note}")


def soak(name: str, server: servers.Server, requests: int) -> None:
    """Memory after each tenth, and its slope over the second half."""
    began, seen = time.monotonic(), list[float]()
    for tenth in range(10):
        asyncio.run(closed(server.port, in_flight=64, seconds=0, requests=requests // 10))
        seen.append(server.memory)
        print(f"{name}: {(tenth + 1) * requests // 10} requests, {seen[-1]:.1f} MB, {time.monotonic() - began:.0f} s")
    slope = (seen[9] - seen[4]) / (requests / 2) * 1e6
    print(f"{name}: {slope:+.1f} MB per million requests over the second half")


def _sweep(running: Mapping[str, servers.Server], given: argparse.Namespace, chunks: int) -> None:
    """Every number of requests in flight, plain or streaming; what would take for ever is left out."""
    rates: dict[str, float] = {}
    for in_flight in given.in_flight:
        slow = {name for name, rate in rates.items() if in_flight / rate > PATIENCE}
        names = [name for name in running if name not in slow]
        rows = [_closed(name, running[name], in_flight, given.seconds, chunks) for name in names]
        rates |= {row.name: row.load.rate for row in rows}
        streams = f" streams of {chunks} chunks, {given.interval * 1e3:.0f} ms apart" if chunks else " in flight"
        show(f"{in_flight}{streams}", rows, chunks)
        for name in slow:
            print(
                f"{name} is left out: at {rates[name]:.0f} requests/s its first answers would take a client's patience"
            )


def _closed(name: str, server: servers.Server, in_flight: int, seconds: float, chunks: int) -> Row:
    streaming = chunks > 0
    asyncio.run(closed(server.port, in_flight=in_flight, seconds=0.5, stream=streaming))  # warm
    before = server.cpu
    load = asyncio.run(closed(server.port, in_flight=in_flight, seconds=seconds, stream=streaming))
    return Row(name, load, (server.cpu - before) / load.requests, server.memory)


def _start(running: ExitStack, name: str, command: servers.Command, engine: int, folder: Path) -> servers.Server | None:
    own, port = folder / name, servers.free_port()
    own.mkdir()
    try:
        line = command(port, engine, own)
    except servers.Absent as absent:
        print(f"{name} is left out, {absent}")
        return None
    return running.enter_context(servers.started(line, port, own / "log", patience=90))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--in-flight", type=int, nargs="+", default=[64], metavar="N", help="requests in flight (default: 64)")
    add("--seconds", type=float, default=2.0, help="of each measurement (default: 2)")
    add("--chunks", type=int, default=32, help="of each streamed answer; 0: no streams (default: 32)")
    add("--interval", type=float, default=0.02, help="seconds between two chunks (default: 0.02)")
    add("--rate", type=float, default=500.0, help="requests per second for the added times (default: 500)")
    add("--soak", type=int, default=0, metavar="N", help="only watch the memory over so many requests")
    add("--only", nargs="+", default=list(GATEWAYS), choices=list(GATEWAYS), help="these gateways (default: all)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
