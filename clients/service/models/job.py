"""A job and what it leaves, as the service shows them. Times are ISO 8601 in UTC."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from clients.service.models.base import Document


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


class Event(Document):
    """One line of a job's history; `seq` grows by one per job."""

    seq: int
    time: str
    attempt: int
    type: str
    """`state` for a transition, `note` for a step within a phase."""
    state: State
    phase: str
    message: str
    code: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class Progress(Document):
    """How far the evaluation is, in samples; `rate` per second, `eta` in seconds."""

    done: int = 0
    total: int | None = None
    failed: int = 0
    rate: float | None = None
    eta: float | None = None


class ShortFailure(Document):
    """Why a job did not succeed."""

    code: str
    message: str


class Failure(ShortFailure):
    """Why a job did not succeed, with the last lines of the log that tells most."""

    hint: str = ""
    log: str | None = None
    log_tail: str = ""
    command: str | None = None
    """The exact command to repeat it by hand."""


class DatasetResult(Document):
    """The score of one data set over the samples that the engine answered."""

    evaluator: str
    dataset: str
    metric: str
    score: float | None
    """In percent for rates; None when no honest number can be given."""
    interval: tuple[float, float] | None
    """95% interval of the score."""
    asked: int
    answered: int
    failed: int
    """Requests without an answer: never scored."""
    coverage: float
    """answered / asked."""
    failed_by_cause: dict[str, int] = Field(default_factory=dict)
    """Why samples have no answer -> how many."""
    prompt_version: str | None = None
    notes: list[str] = Field(default_factory=list)


class Teardown(Document):
    """Proof that nothing was left behind."""

    clean: bool
    processes: int
    survivors: list[int]
    swept: list[int]
    ports: dict[int, str]
    removed: list[str] = Field(default_factory=list)
    left: list[str] = Field(default_factory=list)
    gpu_memory: dict[int, tuple[int, int]] | None
    """GPU -> bytes used before and after."""
    seconds: float


class Job(Document):
    """One job with all that is known about it."""

    id: str
    name: str
    state: State = State.QUEUED
    attempt: int = 1
    spec: dict[str, Any]
    labels: dict[str, str] = Field(default_factory=dict)
    created_at: str
    resumed_from: str | None = None
    finished_at: str | None = None
    progress: Progress = Progress()
    times: dict[str, float] = Field(default_factory=dict)
    """Seconds per phase."""
    resources: dict[str, Any] = Field(default_factory=dict)
    fingerprint: dict[str, Any] | None = None
    """What served: all that a score depends on beside the questions."""
    probe: dict[str, Any] | None = None
    fidelity: dict[str, Any] | None = None
    failure: Failure | None = None
    notes: list[str] = Field(default_factory=list)
    results: list[DatasetResult] = Field(default_factory=list)
    speed: list[dict[str, Any]] = Field(default_factory=list)
    gateway: dict[str, Any] = Field(default_factory=dict)
    teardown: Teardown | None = None
    folder: str
    logs: dict[str, str] = Field(default_factory=dict)
    report: str | None = None
    version: int
    """Grows with each change; `cancel` and `delete` take it as a precondition."""
    engine: str
    priority: int
    started_at: str | None = None
    submitted_by: str | None = None
    """Name of the token; None: the local user of the service's machine."""
    cancel_requested: bool = False
    deployment: str | None = None
    waiting: str | None = None
    """Why a queued job still waits, where that is known."""


class JobSummary(Document):
    """One job of a list."""

    id: str
    name: str
    state: State
    engine: str
    model: str | None
    attempt: int
    priority: int
    labels: dict[str, str]
    created_at: str
    started_at: str | None
    finished_at: str | None
    submitted_by: str | None
    cancel_requested: bool
    resumed_from: str | None
    deployment: str | None
    progress: Progress
    failure: ShortFailure | None
    results: list[DatasetResult]


class Sample(Document):
    """One question of a data set and what became of it."""

    dataset: str
    index: int
    prompt: str
    output: str | None
    """None when the request failed."""
    gold: str | None
    prediction: str | None
    correct: bool | None
    value: float | None = None
    failed: str | None = None
    """Why there is no answer."""
    cut: bool = False
    """Whether the answer ends where its longest length was reached."""


class Log(Document):
    """One log of a job."""

    name: str
    bytes: int
    modified_at: str


class Artifact(Document):
    """One file of a job, by its path below the job's folder."""

    path: str
    bytes: int
    modified_at: str
