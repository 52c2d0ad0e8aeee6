"""`/jobs`: submit, list, show, cancel, retry, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from orchestrator.api.admission import admitted, idempotency, planned
from orchestrator.api.bodies import read_document
from orchestrator.api.conditions import is_known, wanted_version
from orchestrator.api.context import Asking, Context, Using
from orchestrator.api.openapi import body_of, idempotency_header, if_match_header, job_made, problems
from orchestrator.api.paging import cursor_of, page_size, position_of
from orchestrator.api.problems import bad_request
from orchestrator.api.views import Document, Job, JobPage, etag, job_document, summary
from orchestrator.errors import PreconditionFailed
from orchestrator.record import State
from orchestrator.store.rows import JobFilter, JobRow

router = APIRouter(tags=["jobs"])

JobId = Annotated[str, Path(max_length=100, description="Id of the job.", examples=["20260101-120000-a1b2c3"])]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]
Limit = Annotated[int | None, Query(ge=1, description="Most items of the page; the operator sets the largest.")]
IfState = Annotated[State | None, Query(description="Only while the job is in this state, else 412.")]


@router.post(
    "/jobs",
    status_code=202,
    response_model=Job,
    responses={
        200: {"description": "With `dry_run`: the plan.", "content": {"application/json": {"schema": {}}}},
        **job_made(),
        **problems(400, 409, 413, 415),
    },
    openapi_extra={**body_of("JobSpec"), **idempotency_header()},
)
async def submit_job(
    request: Request,
    using: Using,
    caller: Asking,
    dry_run: Annotated[bool, Query(description="Only the plan: nothing is stored or started.")] = False,
) -> Response:
    """Queue a job.

    The body is a job spec, JSON or YAML. All its errors come back at once. With an `Idempotency-Key` the same key and
    body give the same job; the same key with another body gives 409.
    """
    document = await read_document(request)
    spec = await asyncio.to_thread(admitted, document, using)
    if dry_run:
        return Document(await asyncio.to_thread(planned, spec, using))
    key = idempotency(request, caller, document)
    row, _ = await using.service.submit(spec, caller.name, key, max_queued=caller.max_queued)
    return _accepted(row, using)


@router.get("/jobs", response_model=JobPage)
def list_jobs(
    using: Using,
    state: Annotated[State | None, Query(description="Only jobs in this state.")] = None,
    engine: Annotated[str | None, Query(max_length=100, description="Only jobs on this engine.")] = None,
    label: Annotated[
        list[str], Query(description="`KEY:VALUE`; repeat it for several, all of which must hold.", max_length=20)
    ] = [],  # noqa: B006 - never changed
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response:
    """List jobs, the newest first."""
    size = page_size(limit, using.settings.service.max_page)
    wanted = JobFilter(state, engine, _labels(label), size + 1, position_of("jobs", cursor))
    found = using.store.jobs(wanted)
    shown = found[:size]
    records = using.store.records([row.id for row in shown])
    more = cursor_of("jobs", shown[-1].number) if len(found) > size else None
    return Document({"items": [summary(row, records.get(row.id, {})) for row in shown], "next_cursor": more})


@router.get("/jobs/{job}", response_model=Job, responses=problems(404, extra={304: "The client has this version."}))
def get_job(request: Request, using: Using, job: JobId) -> Response:
    """Show a job: spec, state, attempt, progress, times per phase, resources, failure, results."""
    row = using.job(job)
    if is_known(request, etag(row.version)):
        return Response(status_code=304, headers=_tagged(row.version))
    return Document(_shown(row, using), headers=_tagged(row.version))


@router.post(
    "/jobs/{job}/cancel",
    status_code=202,
    response_model=Job,
    responses=problems(404, 409, 412),
    openapi_extra=if_match_header(),
)
async def cancel_job(request: Request, using: Using, caller: Asking, job: JobId, if_state: IfState = None) -> Response:
    """Cancel a job: at once while it is queued, else as soon as everything of it is stopped. 409 when it is over."""
    version = await _version(request, using, caller, job, if_state)
    await using.service.cancel(job, version)
    row = await asyncio.to_thread(using.job, job)
    return Document(_shown(row, using), 202, headers=_tagged(row.version))


@router.post(
    "/jobs/{job}/retry",
    status_code=202,
    response_model=Job,
    responses={**job_made(), **problems(404, 409)},
    openapi_extra=idempotency_header(),
)
async def retry_job(request: Request, using: Using, caller: Asking, job: JobId) -> Response:
    """Queue a new job with the same spec, which reuses every answer that this one obtained. 409 while it runs."""
    earlier = await asyncio.to_thread(using.job, job)
    await asyncio.to_thread(admitted, earlier.spec, using)  # the policy may have changed since, and the form of a spec
    key = idempotency(request, caller, None)
    row, _ = await using.service.retry(job, caller.name, key, caller.max_queued)
    return _accepted(row, using)


@router.delete("/jobs/{job}", status_code=204, responses=problems(404, 409, 412), openapi_extra=if_match_header())
async def delete_job(request: Request, using: Using, caller: Asking, job: JobId, if_state: IfState = None) -> Response:
    """Remove a job that is over: its record and its files. 409 while it is not."""
    await using.service.delete(job, await _version(request, using, caller, job, if_state))
    return Response(status_code=204)


async def _version(request: Request, using: Context, caller: Asking, job: str, if_state: State | None) -> int | None:
    """The version that must still be there when the change is made; None for any.

    Raises: NotFound, Forbidden, PreconditionFailed.
    """
    row = await asyncio.to_thread(using.job, job)
    caller.require_own(f"job {job}", row.submitted_by)
    version = wanted_version(request)
    if if_state is None:
        return version
    if row.state is not if_state:
        raise PreconditionFailed(f"job {job} is {row.state}, not {if_state}", hint=f"GET /jobs/{job} shows it")
    return row.version if version is None else version


def _accepted(row: JobRow, using: Context) -> Response:
    headers = {"Location": f"/jobs/{row.id}", **_tagged(row.version)}
    return Document(_shown(row, using), 202, headers=headers)


def _shown(row: JobRow, using: Context) -> dict[str, Any]:
    return job_document(row, using.service.why_waiting(row.id) if row.state is State.QUEUED else None)


def _labels(given: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, separator, value = text.partition(":")
        if not separator:
            raise bad_request("query.label", f"{text!r} is not KEY:VALUE")
        if labels.get(key, value) != value:
            raise bad_request("query.label", f"{key!r} cannot have two values")
        labels[key] = value
    return labels


def _tagged(version: int) -> dict[str, str]:
    return {"ETag": etag(version), "Cache-Control": "no-cache"}
