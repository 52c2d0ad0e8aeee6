"""Deployments, as the service shows them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from clients.service.models.base import Document


class DeploymentState(StrEnum):
    """How far a deployment is; the last two are its end."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def living(self) -> bool:
        """Whether processes of it may run."""
        return self not in (DeploymentState.STOPPED, DeploymentState.FAILED)


class Deployment(Document):
    """A served model."""

    id: str
    name: str
    state: DeploymentState
    serve: dict[str, Any]
    probe: dict[str, Any]
    compress: dict[str, Any] | None
    keep_alive: float | None
    """Seconds without a job after which it is stopped; None: until it is deleted."""
    gpus: list[int]
    url: str | None
    """Where clients find the model."""
    gateway_url: str | None
    created_at: str
    created_by: str | None
    idle_since: str | None
    record: dict[str, Any]
    """What its owner tells: resources, failure, teardown, logs."""
    version: int
