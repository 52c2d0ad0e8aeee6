"""`concurrency: auto` against fixed numbers in flight, on a fake engine of so many slots, in one run.

Every measurement has a fake engine of its own, a gateway and a crowd of workers; what is counted is answers in the
last part of it, when the limit has been found. Run: `python benchmarks/concurrency.py [--slots 8 64] [--seconds S]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from clients.errors import UpstreamError
from clients.gateway import Gateway
from clients.gauges import watch_gauges
from clients.ledger import Ledger
from clients.limiter import WORKERS_PER_SLOT, Limiter
from clients.pool import Pool
from clients.replica import Replica
from clients.upstream import Upstream

HINT = 32
HEADERS = [(b"content-type", b"application/json")]


@dataclass(frozen=True)
class Found:
    rate: float
    """Answers per second in the last half."""
    limit: int
    history: Sequence[Sequence[object]]


@contextlib.asynccontextmanager
async def fake_engine(slots: int, latency: float) -> AsyncIterator[int]:
    """A fake engine of log-normal latency in a process of its own; its port."""
    arguments = ["--port", "0", "--slots", f"{slots}", "--latency", f"{latency}", "--latency-sigma", "0.4"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.fake_engine", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while b"http" not in (line := await process.stdout.readline()):
            assert line, "the fake engine ended"
        yield int(line.rsplit(b":", 1)[1].split()[0].strip(b"/,."))
    finally:
        process.terminate()
        await process.wait()


async def measure(port: int, limiter: Limiter, workers: int, seconds: float, *, gauges: bool) -> Found:
    """The rate that `workers` get through a gateway with this limiter."""
    pool, ledger = Pool(limiter=limiter), Ledger()
    replica = Replica("r0", "127.0.0.1", port)
    pool.add(replica)
    pool.mark_ready(replica)
    gateway = Gateway(pool, ledger, None, served_model="fake", request_timeout=60)
    async with gateway.serving("127.0.0.1", 0) as url:
        asking = Upstream("127.0.0.1", int(url.rsplit(":", 1)[1]))
        tasks = [asyncio.create_task(work(asking, number)) for number in range(workers)]
        if gauges:
            tasks.append(asyncio.create_task(watch_gauges(pool, limiter)))
        await asyncio.sleep(seconds / 2)
        before = ledger.answered
        await asyncio.sleep(seconds / 2)
        rate = (ledger.answered - before) / (seconds / 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        asking.close()
    return Found(rate, limiter.limit, limiter.snapshot()["history"])


async def work(asking: Upstream, number: int) -> None:
    """Ask without end."""
    turn = 0
    while True:
        turn += 1
        body = b'{"model":"fake","max_tokens":8,"messages":[{"role":"user","content":"%d of %d"}]}' % (turn, number)
        with contextlib.suppress(UpstreamError):
            answer = await asking.send("POST", "/v1/chat/completions", HEADERS, body, timeout=60)
            await answer.read()


async def compare(slots: int, latency: float, seconds: float) -> dict[str, Found]:
    """Fixed numbers, then `auto` with the engine's gauges and without."""
    workers = WORKERS_PER_SLOT * max(HINT, slots)
    fixed = {f"fixed {n}": n for n in (slots // 2, slots, 2 * slots)}
    found = {}
    for name, number in {**fixed, "auto": None, "auto, no gauges": None}.items():
        async with fake_engine(slots, latency) as port:
            limiter = Limiter(number, most=number, least=number) if number else Limiter(HINT)
            found[name] = await measure(port, limiter, workers, seconds, gauges=name == "auto")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--latency", type=float, default=0.2, help="seconds, median")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    options = parser.parse_args()
    for slots in options.slots:
        found = asyncio.run(compare(slots, options.latency, options.seconds))
        best = max(one.rate for name, one in found.items() if name.startswith("fixed"))
        print(f"\n{slots} slots, median latency {options.latency} s")
        for name, one in found.items():
            print(
                f"  {name:16} limit {one.limit:4}  {one.rate:7.1f}/s  {one.rate / best:6.1%} of the best fixed number"
            )
            if name.startswith("auto"):
                for seconds, limit, reason in one.history:
                    print(f"      {seconds:6} s  {limit:4}  {reason}")


if __name__ == "__main__":
    main()
