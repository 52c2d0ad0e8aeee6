"""What is installed, what is free, who did what."""

from __future__ import annotations

from typing import Any

from clients.service.models.base import Document


class EngineInfo(Document):
    """An engine."""

    name: str
    state: str
    """`installed`, `missing` or `built in`."""
    version: str | None
    here: str
    needs_gpu: bool
    honours: list[str]
    refuses: dict[str, str]
    flags_of: str | None
    next: str
    """The command that installs it."""


class EvaluatorInfo(Document):
    """An evaluator."""

    name: str
    state: str
    version: str | None
    next: str


class Gpu(Document):
    """A GPU; `memory_total` in bytes, 0 for a declared one."""

    index: int
    name: str
    memory_total: int
    holder: str | None


class Lease(Document):
    """A GPU or port that somebody has."""

    kind: str
    number: int
    holder: str


class PortRange(Document):
    """The ports that may be leased."""

    first: int
    last: int


class Resources(Document):
    """What jobs can have and who has it."""

    gpus: list[Gpu]
    leases: list[Lease]
    ports: PortRange
    running: int
    queued: int
    deployments: int


class AuditLine(Document):
    """Who did what to what."""

    time: str
    token: str | None
    action: str
    target: str
    outcome: str
    detail: dict[str, Any]
