"""What serves, as the gateway tells: when it is ready, which replicas there are, how late the gateway was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from orchestrator.evaluators.speed.plan import SpeedFailed

POLL = 0.2
_TIMEOUT = 30.0
_GAUGES = {
    "lag_p50": 'gateway_event_loop_lag_seconds{quantile="0.5"}',
    "lag_p99": 'gateway_event_loop_lag_seconds{quantile="0.99"}',
    "cpu": "gateway_cpu",
    "client_limited": "gateway_client_limited",
}


@dataclass(frozen=True, slots=True)
class ServedReplica:
    """One replica behind the gateway."""

    url: str
    """Without a trailing slash."""
    model: str | None
    """The name that this engine expects; None: that of the gateway."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 80

    @property
    def local(self) -> bool:
        """Whether it runs on this machine, as far as its address tells."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Served:
    """All that stands behind the gateway."""

    replicas: tuple[ServedReplica, ...]
    limit: int | None
    """Requests that the gateway lets through at once; None: all."""


async def wait_served(gateway: str) -> Served:
    """Return once a replica of the gateway at `gateway` (without `/v1`) takes requests; whoever started us ends us if
    none will.
    """
    async with httpx.AsyncClient(base_url=gateway, trust_env=False, timeout=_TIMEOUT) as http:
        while (await http.get("/health")).status_code != 200:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(POLL)
        page = (await http.get("/replicas")).json()
    ready = [one for one in page["replicas"] if one["state"] == "ready"]
    if not ready:
        raise SpeedFailed("no replica is ready any more")
    return Served(tuple(ServedReplica(one["url"], one["model"]) for one in ready), page["limit"])


async def gateway_gauges(gateway: str) -> dict[str, float]:
    """`lag_p50`, `lag_p99` (seconds), `cpu` (share of a core) and `client_limited` (1: yes) of the gateway, over the
    whole job so far; see `clients.honesty`.
    """
    async with httpx.AsyncClient(base_url=gateway, trust_env=False, timeout=_TIMEOUT) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(values.get(metric, 0)) for name, metric in _GAUGES.items()}


async def listed_len(replica: ServedReplica) -> int | None:
    """`max_model_len` as the engine's list of models has it; None where it does not tell."""
    async with httpx.AsyncClient(base_url=replica.url, trust_env=False, timeout=_TIMEOUT) as http:
        try:
            data: Any = (await http.get("/v1/models")).json()["data"]
            found = [card.get("max_model_len") for card in data if card.get("id") == replica.model] or [None]
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return None
    return found[0] if isinstance(found[0], int) else None
