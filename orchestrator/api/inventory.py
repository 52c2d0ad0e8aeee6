"""`/engines`, `/evaluators`, `/resources`: what is here, and who has it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from launchers.gpus import discover
from orchestrator.api.context import Using
from orchestrator.api.views import Document, View
from orchestrator.inventory import described_engines, described_evaluators

router = APIRouter(tags=["what is here"])


class EngineView(View):
    """An engine."""

    name: str
    state: str
    """`installed`, `missing` or `built in`."""
    version: str | None
    here: str
    """Whether it can be started on this machine."""
    needs_gpu: bool
    honours: list[str]
    """Fields of `serve` that it honours beside those that every engine does."""
    refuses: dict[str, str]
    """Fields that it does not honour, and what to do instead."""
    flags_of: str | None
    """Which version's command line is known."""
    next: str
    """The command that installs it."""


class Engines(View):
    """All engines."""

    items: list[EngineView]


class EvaluatorView(View):
    """An evaluator."""

    name: str
    state: str
    """`installed`, `missing` or `built in`."""
    version: str | None
    next: str
    """The command that installs it."""


class Evaluators(View):
    """All evaluators."""

    items: list[EvaluatorView]


class GpuView(View):
    """A GPU."""

    index: int
    name: str
    memory_total: int
    """Bytes; 0 for a declared one."""
    holder: str | None
    """The job or deployment that has it."""


class LeaseView(View):
    """A lease."""

    kind: str
    number: int
    holder: str


class PortRange(View):
    """The ports that may be leased."""

    first: int
    last: int


class Resources(View):
    """What jobs can have and who has it."""

    gpus: list[GpuView]
    leases: list[LeaseView]
    ports: PortRange
    running: int
    """Jobs with a runner."""
    queued: int
    """Jobs that wait."""
    deployments: int
    """Those that live."""


@router.get("/engines", response_model=Engines)
def list_engines(using: Using) -> Response:
    """List the engines: installed or not, version, what runs here, which fields of `serve` each honours."""
    gpus = len(discover(using.settings.gpus).gpus)
    return Document({"items": described_engines(using.settings, gpus)})


@router.get("/evaluators", response_model=Evaluators)
def list_evaluators(using: Using) -> Response:
    """List the evaluators: installed or not, and which version."""
    return Document({"items": described_evaluators(using.settings)})


@router.get("/resources", response_model=Resources)
async def get_resources(using: Using) -> dict[str, Any]:
    """Show GPUs, leases and ports, and how much is queued."""
    return await using.service.resources()
