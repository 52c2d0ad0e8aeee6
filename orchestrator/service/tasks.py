"""The processes of the service, as executors know them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.executors import Task
from orchestrator.store.rows import AttemptRow, DeploymentRow, JobHead


def attempt_task(head: JobHead, attempt: AttemptRow) -> Task:
    """The runner of an attempt."""
    folder = Path(head.folder)
    argv = ("orchestrator.attempt", str(folder), str(attempt.number))
    return Task(attempt.key, argv, folder, folder / "logs" / "process.log", attempt.gpus)


def owner_task(row: DeploymentRow) -> Task:
    """The owner of a deployment."""
    folder = Path(row.folder)
    return Task(row.id, ("orchestrator.owner", str(folder)), folder, folder / "logs" / "owner.log", row.gpus)
