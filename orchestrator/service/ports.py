"""Ports that specs name: of two jobs with the same one the second waits, and neither starts while another has it."""

from __future__ import annotations

import asyncio

from launchers.errors import ForeignServer, PortInUse
from launchers.spec import ServeSpec
from orchestrator.errors import LeaseTaken
from orchestrator.leases import Leases
from orchestrator.service.board import Board
from orchestrator.settings import Settings
from orchestrator.spec.models import JobSpec
from orchestrator.store.rows import JobHead


async def free_port(board: Board, head: JobHead) -> int | None:
    """The port that the spec of a job names, which nobody has; None where it names none.

    Raises: LeaseTaken when somebody has it.
    """
    job = await asyncio.to_thread(board.store.job, head.id)
    serve = JobSpec.model_validate(job.spec).serve if job else None
    if serve is None or serve.port is None:
        return None
    if user := next((active.head.id for active in board.active.values() if active.port == serve.port), None):
        raise LeaseTaken(f"it needs port {serve.port}, which job {user} has")
    await asyncio.to_thread(_require_free, serve, board.settings)
    return serve.port


def _require_free(serve: ServeSpec, settings: Settings) -> None:
    with Leases(settings, "the scheduler, which looks whether it is free") as leases:
        try:
            leases.port(serve.port, host=serve.host)
        except (PortInUse, ForeignServer) as taken:
            raise LeaseTaken(f"it needs port {serve.port}: {taken.message}") from taken
