"""Memory with large bodies: answers of 100 MB to several clients at once, one of them slow, and requests of 1 MB.

Memory is the highest resident size that a server's process ever had (`VmHWM`, Linux) above what it had when idle;
beside ours the aiohttp forwarder, which holds every answer that is no stream whole.

    python benchmarks/large.py [--megabytes N] [--clients N]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from peers import servers
from peers.load import CHAT, HEADERS

from clients.upstream import Upstream

MEGABYTE = 1 << 20
TEXT = b"all work and no play " * 50_000
GATEWAYS: Mapping[str, servers.Command] = {
    "ours": servers.ours,
    "ours+journal": servers.ours_journaling,
    "aiohttp": servers.aiohttp_forwarder,
}


async def answer_large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, megabytes: int) -> None:
    """An engine: a small answer to a request with a body above 100 KB, else one of so many MB."""
    start, end = b'{"choices":[{"finish_reason":"stop","message":{"content":"', b'"}}]}'
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1]) if length else 0)
            pieces = 0 if len(body) > 100_000 or not body else megabytes * MEGABYTE // len(TEXT)
            size = len(start) + len(end) + max(1, pieces * len(TEXT))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size)
            writer.write(start)
            for _ in range(pieces):
                writer.write(TEXT)
                await writer.drain()
            writer.write(end if pieces else b"x" + end)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # start_server would log the last
        writer.close()


async def take(port: int, body: bytes, pause: float) -> int:
    """Ask, and read the answer with a pause after each piece. Returns its size."""
    upstream, size = Upstream("127.0.0.1", port), 0
    answer = await upstream.send("POST", CHAT, HEADERS, body, timeout=300)
    if answer.status != 200:
        raise SystemExit(f"a wrong answer: {answer.status}")
    async for data in answer:
        size += len(data)
        await asyncio.sleep(pause)
    upstream.close()
    return size


async def measure(name: str, command: servers.Command, folder: Path, given: argparse.Namespace) -> None:
    engine = await asyncio.start_server(
        lambda reader, writer: answer_large(reader, writer, given.megabytes), "127.0.0.1", 0
    )
    with ExitStack() as running:
        port = servers.free_port()
        line = command(port, engine.sockets[0].getsockname()[1], folder)
        server = await asyncio.to_thread(running.enter_context, servers.started(line, port, folder / "log"))
        idle = highest(server)
        began = time.perf_counter()
        small = b'{"model":"m","messages":[]}'
        pauses = [0.01, *([0.0] * (given.clients - 1))]
        sizes = await asyncio.gather(*(take(port, small, pause) for pause in pauses))
        seconds = time.perf_counter() - began
        large = highest(server)
        body = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"x" * MEGABYTE)
        await asyncio.gather(*(take(port, body, 0.0) for _ in range(given.requests)))
        print(f"{name:14}{idle:8.0f}{large - idle:+17.0f}{sum(sizes) / seconds / 1e6:9.0f}", end="")
        print(f"{highest(server) - large:+17.0f}")
    engine.close()


def highest(server: servers.Server) -> float:
    """The most MB that the process ever had in memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="of each answer (default: 100)")
    parser.add_argument("--clients", type=int, default=3, help="answers at once, one taken slowly (default: 3)")
    parser.add_argument("--requests", type=int, default=16, help="requests of 1 MB at once (default: 16)")
    given = parser.parse_args()
    print(f"{given.clients} answers of {given.megabytes} MB at once, then {given.requests} requests of 1 MB; MB")
    print(f"{'':14}{'idle':>8}{'answers add':>17}{'MB/s':>9}{'requests add':>17}")
    for name, command in GATEWAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(name, command, Path(folder), given))


if __name__ == "__main__":
    main()
