"""Load on one server: a closed loop of so many requests in flight, or an open loop of so many per second."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from clients.upstream import Upstream

CHAT = "/v1/chat/completions"
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer x")]


@dataclass(frozen=True)
class Load:
    """What the client saw."""

    requests: int
    rate: float
    """Requests per second."""
    p50: float
    p99: float
    """Seconds."""
    client: float
    """Share of one CPU that the client took: near 1, it was the limit."""


def prompt(number: int, *, stream: bool) -> bytes:
    """About 900 bytes, none like another."""
    text = f"Question {number}: " + "There are 12 apples in each of 7 boxes. " * 20
    streamed = b',"stream":true' if stream else b""
    return b'{"model":"m","messages":[{"role":"user","content":"%b"}],"temperature":0%b}' % (text.encode(), streamed)


async def closed(
    port: int, *, in_flight: int, seconds: float, stream: bool = False, requests: int | None = None
) -> Load:
    """Each of `in_flight` clients asks again as soon as it is answered, for `seconds` or until `requests` are made."""
    numbers = islice(_numbers(), requests)
    upstream, times = Upstream("127.0.0.1", port), list[float]()
    end = time.perf_counter() + seconds

    async def asker() -> None:
        for number in numbers:
            times.append(await _ask(upstream, number, stream=stream))
            if requests is None and time.perf_counter() > end:
                break

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(asker())
    return _load(times, time.perf_counter() - began, time.process_time() - cpu, upstream)


async def paced(port: int, *, rate: float, seconds: float) -> Load:
    """Requests at even distances, whether or not those before are answered."""
    upstream, times = Upstream("127.0.0.1", port), list[float]()

    async def one(number: int) -> None:
        times.append(await _ask(upstream, number, stream=False))

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(began + number / rate - time.perf_counter())
            tasks.create_task(one(number))
    return _load(times, time.perf_counter() - began, time.process_time() - cpu, upstream)


async def _ask(upstream: Upstream, number: int, *, stream: bool) -> float:
    """Seconds until the whole answer was there."""
    began = time.perf_counter()
    answer = await upstream.send("POST", CHAT, HEADERS, prompt(number, stream=stream), timeout=120)
    body = await answer.read()
    if answer.status != 200 or (b"[DONE]" if stream else b"The answer is 42.") not in body:
        raise SystemExit(f"a wrong answer: {answer.status} {body[:300]!r}")
    return time.perf_counter() - began


def _load(times: list[float], seconds: float, cpu: float, upstream: Upstream) -> Load:
    upstream.close()
    centiles = statistics.quantiles(times, n=100)
    return Load(len(times), len(times) / seconds, centiles[49], centiles[98], cpu / seconds)


def _numbers() -> Iterator[int]:
    """None of an earlier load."""
    return count(int.from_bytes(os.urandom(6), "big"))
