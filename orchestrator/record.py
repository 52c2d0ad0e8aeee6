"""The record of a job: what `GET /jobs/{id}` and `run --json` show, and what stands in the job's folder."""

from __future__ import annotations

import time
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from clients.errors import ClientError
from clients.fidelity.report import Fidelity
from launchers.errors import CompressFailed, LaunchError
from launchers.server import tail_of
from orchestrator.errors import DeploymentFailed, OrchestratorError
from orchestrator.identity import ServingIdentity
from orchestrator.results import DatasetResult
from orchestrator.speed import SpeedResult


class State(StrEnum):
    """States of a job; the last four are terminal and never change."""

    QUEUED = "queued"
    ALLOCATING = "allocating"
    STARTING = "starting"
    PROBING = "probing"
    EVALUATING = "evaluating"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the job is over."""
        return self in (State.SUCCEEDED, State.INCOMPLETE, State.FAILED, State.CANCELLED)


class Event(BaseModel):
    """One line of a job's history; `seq` grows by one per job."""

    seq: int
    time: str
    attempt: int
    type: str
    """`state` for a transition, `note` for a step within a phase."""
    state: State
    phase: str
    """The state it belongs to, in finer steps: `starting/engine-0`."""
    message: str
    code: str | None = None
    data: dict[str, Any] = {}


class Failure(BaseModel):
    """Why a job did not succeed."""

    code: str
    message: str
    hint: str = ""
    log: str | None = None
    """Path of the log that tells most."""
    log_tail: str = ""
    """Its last 40 lines."""
    command: str | None = None
    """The exact command to repeat it by hand."""


class Progress(BaseModel):
    """How far the evaluation is, in samples."""

    done: int = 0
    total: int | None = None
    failed: int = 0
    rate: float | None = None
    """Answers per second since the evaluation began."""
    eta: float | None = None
    """Seconds until the end at that rate."""


class Teardown(BaseModel):
    """Proof that nothing was left behind."""

    clean: bool
    processes: int
    """Processes that were alive when the teardown began."""
    survivors: list[int]
    """Process ids that could not be ended."""
    swept: list[int]
    """Process ids that only the sweep by marker found."""
    ports: dict[int, str]
    """Port -> `free`, `held` (by something of ours), or `foreign` (a server that is not ours listens on it)."""
    removed: list[str] = []
    """Files outside the working folders that the servers left behind, now removed."""
    left: list[str] = []
    """Such files that could not be removed."""
    gpu_memory: dict[int, tuple[int, int]] | None
    """GPU -> bytes used before the start and after the teardown; None without a driver."""
    seconds: float


class JobRecord(BaseModel):
    """Everything that is known about one job."""

    model_config = ConfigDict(validate_assignment=True)

    id: str
    name: str
    state: State = State.QUEUED
    attempt: int = 1
    spec: dict[str, Any]
    labels: dict[str, str] = {}
    created_at: str
    resumed_from: str | None = None
    """Job whose journaled answers are reused."""
    finished_at: str | None = None
    progress: Progress = Progress()
    times: dict[str, float] = {}
    """Seconds per phase."""
    resources: dict[str, Any] = {}
    """GPUs, ports, processes, commands, versions."""
    fingerprint: ServingIdentity | None = None
    """What served: all that a score depends on beside the questions."""
    probe: dict[str, Any] | None = None
    """What the real generation answered."""
    fidelity: Fidelity | None = None
    """What is known about the engine's answers: see docs/fidelity.md."""
    failure: Failure | None = None
    notes: list[str] = []
    """Those of the spec, e.g. what of an OpenCompass config was not carried over."""
    results: list[DatasetResult] = []
    speed: list[SpeedResult] = []
    """What each evaluator `speed` measured."""
    gateway: dict[str, Any] = {}
    """What the gateway counted: asked, answered, failed by cause, retried."""
    teardown: Teardown | None = None
    folder: str
    logs: dict[str, str] = {}
    """Name -> path of the log."""
    report: str | None = None
    """Path of the report."""


def now() -> str:
    """This moment as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


def failure_of(error: LaunchError | ClientError | OrchestratorError) -> Failure:
    """The failure that an error of ours is."""
    failure = Failure(code=error.code, message=error.message, hint=error.hint)
    if isinstance(error, CompressFailed) and error.log:
        told = {"log": str(error.log), "log_tail": tail_of(error.log), "command": error.command}
        return failure.model_copy(update=told)
    return failure.model_copy(update=error.told) if isinstance(error, DeploymentFailed) else failure


def unexpected(error: BaseException, log: Path) -> Failure:
    """The failure that an error of nobody's tree is: a bug of ours, or a machine out of room; its trace in `log`."""
    log.write_text("".join(traceback.format_exception(error)))
    return Failure(
        code="internal_error",
        message=f"{type(error).__name__}: {error}",
        hint="this is a bug of the orchestrator; please report it with the log",
        log=str(log),
    )
