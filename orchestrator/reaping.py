"""What is done about jobs and deployments whose owner died together with its shims.

Their processes are found by the marker in their environment and ended, their records closed as `lost`.
"""

from __future__ import annotations

from launchers.marker import sweep
from orchestrator.deployment import DeploymentFolder, all_deployments
from orchestrator.errors import OrchestratorError
from orchestrator.history import History, NoView
from orchestrator.job_folder import JobFolder
from orchestrator.record import Failure, JobRecord, State
from orchestrator.settings import Settings

PATIENCE = 5.0
"""Seconds that the processes of one owner may take to end."""


def reap(settings: Settings) -> list[str]:
    """Close every job and deployment that nobody owns and that is not over; returns their ids and names."""
    return [*_reap_jobs(settings), *_reap_deployments(settings)]


def _reap_deployments(settings: Settings) -> list[str]:
    lost = []
    for record in all_deployments(settings):
        folder = DeploymentFolder(settings.deployments / record.name)
        if record.failure and record.failure.code == "lost" and folder.owner() is None:
            sweep(f"{record.mark}/", patience=PATIENCE)
            folder.write(record)
            lost.append(record.name)
    return lost


def _reap_jobs(settings: Settings) -> list[str]:
    lost = []
    for folder in (JobFolder(path.parent) for path in sorted(settings.jobs.glob("*/job.json"))):
        record = None if folder.owned() else _readable(folder)
        if record is None or record.state.terminal or record.state is State.QUEUED:
            continue
        sweep(f"{folder.id}/", patience=PATIENCE)
        history = History(folder, record, NoView())
        history.fail(
            Failure(
                code="lost",
                message="the process that ran the job is gone",
                hint=f"run it again with --resume {folder.id}",
            )
        )
        history.enter(State.FAILED, "the process that ran the job is gone", code="lost")
        lost.append(folder.id)
    return lost


def _readable(folder: JobFolder) -> JobRecord | None:
    try:
        return folder.read()
    except OrchestratorError:  # of another version: not ours to judge
        return None
