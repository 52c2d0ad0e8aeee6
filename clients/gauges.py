"""What engines say about their own load: requests that run and requests that wait, from their `/metrics`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NoReturn

from clients.errors import UpstreamError
from clients.limiter import Limiter
from clients.pool import Pool
from clients.upstream import Upstream

# LightLLM's and LMDeploy's may be ten seconds old; the limiter takes no notice of what cannot be.
_RUNNING = frozenset(
    {
        "vllm:num_requests_running",
        "lightllm_num_running_reqs",
        "sglang:num_running_reqs",
        "lmdeploy:num_requests_running",
        "llamacpp:requests_processing",
        "fake:num_requests_running",
    }
)
_WAITING = frozenset(
    {
        "vllm:num_requests_waiting",
        "lightllm_queue_size",
        "sglang:num_queue_reqs",
        "lmdeploy:num_requests_waiting",
        "llamacpp:requests_deferred",
        "fake:num_requests_waiting",
    }
)
_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests at one engine, as it counts them."""

    running: int
    waiting: int


def load_of(metrics: str) -> Load | None:
    """The load in a page of Prometheus text, summed over its labels; None where the engine tells none."""
    running: float | None = None
    waiting = 0.0
    for line in metrics.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in _RUNNING:
            running = (running or 0.0) + _value(line)
        elif name in _WAITING:
            waiting += _value(line)
    return None if running is None else Load(round(running), round(waiting))


async def watch_gauges(pool: Pool, limiter: Limiter, *, interval: float = 0.5) -> NoReturn:
    """Tell the limiter the load of all ready replicas every `interval` seconds, where all of them say it."""
    # Connections of their own: an answer here must not pass for a sign that the engine generates.
    asking = {replica.name: Upstream(replica.host, replica.port) for replica in pool.replicas}
    silent: set[str] = set()
    try:
        while True:
            await asyncio.sleep(interval)
            ready = [replica for replica in pool.ready if replica.name in asking]
            if not ready or silent.intersection(replica.name for replica in ready):
                continue
            loads = await asyncio.gather(*(_load(asking[replica.name]) for replica in ready))
            told = [load for load in loads if load is not None]
            if len(told) == len(ready):
                running, waiting = sum(load.running for load in told), sum(load.waiting for load in told)
                limiter.observe(running, waiting, pool.in_flight)
            silent.update(replica.name for replica, load in zip(ready, loads, strict=True) if load is None)
    finally:
        for upstream in asking.values():
            upstream.close()


async def _load(upstream: Upstream) -> Load | None:
    try:
        answer = await upstream.send("GET", "/metrics", [], b"", timeout=_TIMEOUT)
        body = await answer.read()
    except UpstreamError:
        return Load(0, 0)  # it may be starting again; a load of nothing decides nothing
    return load_of(body.decode(errors="replace")) if answer.status == 200 else None


def _value(line: str) -> float:
    """The number after the labels; a time stamp may follow it."""
    try:
        return float(line.rpartition("}")[2].split()[0] if "}" in line else line.split()[1])
    except (ValueError, IndexError):
        return 0.0
