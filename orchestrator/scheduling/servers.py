"""The deployments, as a decision sees them: which can be used, and which can be stopped for their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.scheduling.gpu_sets import gpu_set
from orchestrator.scheduling.holders import is_idle
from orchestrator.scheduling.snapshot import Deployment, Snapshot


@dataclass(frozen=True, slots=True)
class Server:
    """A deployment."""

    id: str
    key: str
    """What it serves: a job's `serve_key`."""
    gpus: int
    """The set of GPUs that a job keeps from others by using it; empty where it stays until somebody deletes it."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Who serves what now."""

    usable: Mapping[str, tuple[Server, ...]]
    """Per key, one entry for each job that may use one; first those that stay until they are deleted."""
    idle: Mapping[str, Server]
    """By id, those that may be stopped for their GPUs; the first to end first."""
    coming: int
    """The set of GPUs of servers that are being stopped."""


def servers_of(snapshot: Snapshot, usable: int, held: int) -> Servers:
    """The deployments of a snapshot; `held` are the GPUs that do not come back by stopping an idle server."""
    places: dict[str, tuple[Server, ...]] = {}
    idle, coming = {}, 0
    for deployment in sorted(snapshot.deployments, key=_lasting):
        gpus = gpu_set(deployment.gpus) & usable if deployment.idle_until is not None else 0
        if is_idle(deployment):
            gpus &= ~held
            held |= gpus
        server = Server(deployment.id, deployment.serve_key, gpus)
        if is_idle(deployment) and not deployment.ready:
            coming |= gpus
        elif is_idle(deployment) and gpus:
            idle[server.id] = server
        if deployment.ready and len(deployment.in_use_by) < deployment.users:
            free_places = [server] * (deployment.users - len(deployment.in_use_by))
            places[server.key] = (*places.get(server.key, ()), *free_places)
    return Servers(places, idle, coming)


def _lasting(deployment: Deployment) -> tuple[bool, float, str]:
    until = deployment.idle_until
    return until is not None, until or 0.0, deployment.id
