"""What the store holds, as plain data: one frozen class per kind of row. Times are in seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.record import State

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json = dict[str, Any]
LeaseKind = Literal["gpu", "port"]


class AttemptState(StrEnum):
    """How far an attempt is; the last three are its end and never change."""

    INTENDED = "intended"
    """Written down; perhaps not given to the executor yet."""
    SUBMITTED = "submitted"
    RUNNING = "running"
    """It reported."""
    ENDED = "ended"
    """It reported a terminal state of the job."""
    LOST = "lost"
    REFUSED = "refused"
    """It came to nothing: the executor did not take it, or somebody else was quicker at its GPUs or its port."""

    @property
    def over(self) -> bool:
        """Whether it ended."""
        return self in (AttemptState.ENDED, AttemptState.LOST, AttemptState.REFUSED)


class DeploymentState(StrEnum):
    """How far a deployment is; only one living deployment has a name."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def living(self) -> bool:
        """Whether processes of it may run."""
        return self not in (DeploymentState.STOPPED, DeploymentState.FAILED)


class Role(StrEnum):
    """What a token may do; each role includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as it is submitted. Limits: `priority` and the GPU numbers are 64-bit integers."""

    id: str
    name: str
    engine: str
    spec: Json
    record: Json
    folder: str
    created_at: float
    priority: int = 0
    gpus_needed: int = 0
    gpus_explicit: tuple[int, ...] | None = None
    serve_key: str = ""
    """Equal for jobs that one server can serve in turn."""
    labels: Mapping[str, str] = field(default_factory=dict)
    keep_alive: float = 0.0
    attempts_max: int = 3
    not_before: float = 0.0
    submitted_by: str | None = None
    """Name of the token; None: no token was needed."""
    resumed_from: str | None = None


@dataclass(frozen=True, slots=True)
class JobHead:
    """A job without its documents: what lists, queues and the dispatcher need."""

    number: int
    """Order of submission over all jobs; never used again. Newest first is `number` descending."""
    id: str
    name: str
    state: State
    engine: str
    priority: int
    gpus_needed: int
    gpus_explicit: tuple[int, ...] | None
    serve_key: str
    labels: dict[str, str]
    keep_alive: float
    attempt: int
    """The current or last attempt; 0 before the first."""
    attempt_open: bool
    """Whether that attempt is not over: a runner owns the job, or is about to."""
    attempts_max: int
    not_before: float
    created_at: float
    started_at: float | None
    """When it first left the queue."""
    finished_at: float | None
    cancel_requested: bool
    submitted_by: str | None
    resumed_from: str | None
    deployment_id: str | None
    """The deployment that serves it, None when it serves itself."""
    folder: str
    version: int
    """Grows by one with each change, heartbeats and leases apart: the ETag."""
    last_seq: int
    """`seq` of its last event."""


@dataclass(frozen=True, slots=True)
class JobRow(JobHead):
    """A job with its documents."""

    spec: Json
    record: Json
    """The last snapshot of its `JobRecord`."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; every part that is given must hold."""

    state: State | None = None
    engine: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limit: int = 50
    before: int | None = None
    """Only jobs with a smaller `number`: the last one of the page before."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The key that a client gave to a submission; keys of different tokens never meet."""

    token: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try at running a job."""

    job_id: str
    number: int
    key: str
    """What the executor knows it by; unique."""
    executor: str
    token_hash: str
    """Hash of the secret that its reports carry: `tokens.hash_of`."""
    state: AttemptState
    gpus: tuple[int, ...]
    created_at: float
    heartbeat_at: float | None
    ended_at: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class Reported:
    """Answer to a report."""

    next_seq: int
    """`seq` of the first event that the store has not; larger than the last one sent unless there was a gap."""
    added: int
    """Events that were new."""
    state: State
    version: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """A served model."""

    id: str
    name: str
    state: DeploymentState
    serve: Json
    probe: Json
    compress: Json | None
    serve_key: str
    keep_alive: float | None
    """Seconds without a job after which it is stopped; None: until it is deleted."""
    folder: str
    created_at: float
    created_by: str | None = None
    idle_since: float | None = None
    gpus: tuple[int, ...] = ()
    url: str | None = None
    gateway_url: str | None = None
    record: Json = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """Several jobs that differ in `serve`."""

    id: str
    name: str
    spec: Json
    jobs: dict[str, str]
    """Variant -> id of its job."""
    state: str
    created_at: float
    created_by: str | None = None
    result: Json | None = None
    version: int = 1
    number: int = 0
    """Order of creation, given by the store."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Who may do what; the secret itself is nowhere."""

    name: str
    role: Role
    created_at: float
    revoked_at: float | None
    last_used_at: float | None
    rate_per_minute: int | None
    """Requests; None: no limit."""
    max_queued: int | None
    """Queued jobs at a time; None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A line of the audit log before it is stored."""

    time: float
    token: str | None
    """Its name; None where none was needed."""
    action: str
    target: str
    outcome: str
    detail: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to what, and whether it was let."""

    id: int
    time: float
    token: str | None
    action: str
    target: str
    outcome: str
    detail: Json


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A webhook call that is to be made; one per job and URL."""

    id: int
    job_id: str
    url: str
    body: str
    attempts: int
    next_at: float | None
    """When to try (again); None: delivered or given up."""
    delivered_at: float | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Which finished jobs go; None: no limit. A job that is not over never goes."""

    max_age: float | None = None
    """Seconds since the job ended."""
    max_jobs: int | None = None
    """Finished jobs to keep, the newest."""
    audit_age: float | None = None
    """Seconds that the audit log is kept."""
    idempotency_age: float | None = 7 * 86400.0
    """Seconds that an idempotency key is known."""


def values_of(row: DataclassInstance) -> dict[str, Any]:
    """Its fields by name, as they are: `asdict` would copy the documents."""
    return {field.name: getattr(row, field.name) for field in fields(row)}
