"""What the routes answer with, as models for the schema and as the documents that are sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.comparing.model import Comparison
from orchestrator.record import JobRecord, Progress, State
from orchestrator.results import DatasetResult, Sample
from orchestrator.store.rows import ComparisonRow, DeploymentRow, DeploymentState, JobHead, JobRow, Json


class View(BaseModel):
    """Base of what is shown: the docstring under a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Job(JobRecord):
    """One job with all that is known about it."""

    # Described here, not by docstrings: those of every dataclass within would be parsed at each start.
    version: int = Field(description="Grows with each change; the `ETag` is it in quotes.")
    engine: str
    priority: int
    started_at: str | None = Field(None, description="When it first left the queue.")
    submitted_by: str | None = Field(None, description="Name of the token; null: the local user.")
    cancel_requested: bool = False
    deployment: str | None = Field(None, description="The deployment that serves it; null when it serves itself.")
    waiting: str | None = Field(None, description="Why a queued job still waits, where that is known.")


class ShortFailure(View):
    """Why a job did not succeed."""

    code: str
    message: str


class JobSummary(View):
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


class Page(View):
    """A part of a list."""

    next_cursor: str | None = None
    """Pass it as `cursor` for the next page; null: this was the last one."""


class JobPage(Page):
    """Jobs, newest first."""

    items: list[JobSummary]


class Scores(View):
    """What the evaluators found."""

    items: list[DatasetResult]


class SamplePage(Page):
    """Samples in the order of their data sets."""

    items: list[Sample]


class Log(View):
    """One log of a job."""

    name: str
    """To be asked for as `/jobs/{job}/logs/NAME`."""
    bytes: int
    modified_at: str


class Logs(View):
    """The logs of one attempt."""

    items: list[Log]


class Artifact(View):
    """One file of a job."""

    path: str
    """To be asked for as `/jobs/{job}/artifacts/PATH`."""
    bytes: int
    modified_at: str


class ArtifactPage(Page):
    """Files of a job by path."""

    items: list[Artifact]


class DeploymentView(View):
    """A served model."""

    id: str
    name: str
    state: DeploymentState
    serve: dict[str, Any]
    probe: dict[str, Any]
    compress: dict[str, Any] | None
    keep_alive: float | None
    """Seconds without a job after which it is stopped; null: until it is deleted."""
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


class DeploymentPage(View):
    """Deployments, newest first."""

    items: list[DeploymentView]


class ComparisonView(Comparison):
    """A comparison with its jobs."""

    jobs: dict[str, str] = Field(description="Variant -> id of its job, as far as they were submitted.")
    created_by: str | None = Field(None, description="Name of the token; null: the local user.")
    cancel_requested: bool = Field(description="It ends, `cancelled`, once its jobs have ended.")
    version: int = Field(description="Grows when a job of it is submitted, and at its end; the `ETag` is it in quotes.")


class ComparisonPage(Page):
    """Comparisons, newest first."""

    items: list[ComparisonView]


class Document(Response):
    """A document as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """`content` in UTF-8."""
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def job_document(row: JobRow, waiting: str | None) -> Json:
    """The body of `GET /jobs/{job}`: the record as the runner last told it, the state as the store holds it."""
    facts = {
        "state": row.state,
        "attempt": row.attempt,
        "version": row.version,
        "engine": row.engine,
        "priority": row.priority,
        "started_at": maybe_when(row.started_at),
        "finished_at": maybe_when(row.finished_at),
        "submitted_by": row.submitted_by,
        "cancel_requested": row.cancel_requested,
        "deployment": row.deployment_id,
        "waiting": waiting,
    }
    return {**_BLANK, **row.record, "spec": row.spec, **facts}


_BLANK = JobRecord(id="", name="", spec={}, created_at="", folder="").model_dump(mode="json")
"""What a record of an earlier version lacks."""


def summary(row: JobHead, record: Json) -> Json:
    """One item of `GET /jobs`."""
    failure = record.get("failure")
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "engine": row.engine,
        "model": record.get("spec", {}).get("serve", {}).get("model"),
        "attempt": row.attempt,
        "priority": row.priority,
        "labels": row.labels,
        "created_at": when(row.created_at),
        "started_at": maybe_when(row.started_at),
        "finished_at": maybe_when(row.finished_at),
        "submitted_by": row.submitted_by,
        "cancel_requested": row.cancel_requested,
        "resumed_from": row.resumed_from,
        "deployment": row.deployment_id,
        "progress": record.get("progress", {}),
        "failure": {"code": failure["code"], "message": failure["message"]} if failure else None,
        "results": record.get("results", []),
    }


def deployment_document(row: DeploymentRow) -> Json:
    """The body of `GET /deployments/{deployment}`."""
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "serve": row.serve,
        "probe": row.probe,
        "compress": row.compress,
        "keep_alive": row.keep_alive,
        "gpus": list(row.gpus),
        "url": row.url,
        "gateway_url": row.gateway_url,
        "created_at": when(row.created_at),
        "created_by": row.created_by,
        "idle_since": maybe_when(row.idle_since),
        "record": row.record,
        "version": row.version,
    }


def comparison_document(row: ComparisonRow, shown: Comparison, *, cancel_requested: bool) -> Json:
    """The body of `GET /comparisons/{comparison}`."""
    own = {"jobs": row.jobs, "created_by": row.created_by, "cancel_requested": cancel_requested, "version": row.version}
    return {**shown.model_dump(mode="json"), **own}


def when(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def maybe_when(seconds: float | None) -> str | None:
    """As `when`, null for null."""
    return None if seconds is None else when(seconds)


def etag(version: int) -> str:
    """The `ETag` of a version."""
    return f'"{version}"'
