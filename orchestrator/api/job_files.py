"""What a job leaves: events, logs, scores, samples, files."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path as FilePath
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from orchestrator.api.context import Context, Using
from orchestrator.api.jobs import Cursor, JobId, Limit
from orchestrator.api.openapi import a_file, problems
from orchestrator.api.paging import cursor_of, page_size, position_of
from orchestrator.api.places import files_below, open_below
from orchestrator.api.problems import bad_request
from orchestrator.api.ranges import HeldFile, file_response
from orchestrator.api.streams import followed, server_sent_events, start_of_tail
from orchestrator.api.views import ArtifactPage, Document, Logs, SamplePage, Scores, when
from orchestrator.errors import NotFound
from orchestrator.store.rows import JobRow

router = APIRouter(tags=["what a job leaves"])

Attempt = Annotated[int | None, Query(ge=1, description="An earlier attempt. Default: the last one.")]
_PLAIN = "text/plain; charset=utf-8"
_TEXT = {"description": "The text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
_EVENT = {
    "type": "object",
    "description": "A server-sent event.",
    "properties": {
        "id": {"type": "string", "description": "`seq` of the event.", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "description": "`type` of the event.", "enum": ["state", "note"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}


@router.get(
    "/jobs/{job}/events",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The events.", "content": {"text/event-stream": {"schema": _EVENT}}},
        **problems(404, extra={204: "There is nothing after `Last-Event-ID` and nothing will come."}),
    },
)
async def get_events(
    using: Using,
    job: JobId,
    last_event_id: Annotated[
        int, Header(ge=0, le=2**53, description="Go on after this `seq`; browsers send it when they come back.")
    ] = 0,
    follow: Annotated[bool, Query(description="Go on as events come; else only those that there are.")] = True,
) -> Response:
    """Follow a job as server-sent events, from the first one.

    `id` is the event's `seq`, `event` its `type`, `data` the event `{seq, time, attempt, type, state, phase, message,
    code, data}` as JSON. The stream closes after the terminal one.
    """
    row = await asyncio.to_thread(using.job, job)
    if last_event_id >= row.last_seq and (row.state.terminal or not follow):
        return Response(status_code=204)
    stream = server_sent_events(
        lambda after, timeout: using.service.wait_events(job, after, timeout),
        min(last_event_id, row.last_seq),
        None if follow else row.last_seq,
        using.closing,
    )
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/jobs/{job}/logs", response_model=Logs, responses=problems(404))
def list_logs(using: Using, job: JobId, attempt: Attempt = None) -> Response:
    """Name the logs of a job: of its engines, its evaluators, its runner."""
    row = using.job(job)
    found = [
        {"name": path.removesuffix(".log"), "bytes": facts.st_size, "modified_at": when(facts.st_mtime)}
        for path, facts in files_below(FilePath(row.folder, _of_attempt(row, attempt), "logs"))
        if path.endswith(".log")
    ]
    return Document({"items": found})


@router.get("/jobs/{job}/logs/{name}", response_class=StreamingResponse, responses={200: _TEXT, **problems(404)})
async def get_log(
    using: Using,
    job: JobId,
    name: Annotated[str, Path(max_length=200, description="One of the names.", examples=["engine-0"])],
    follow: Annotated[bool, Query(description="Go on as the log grows, until the job is over.")] = False,
    tail: Annotated[int | None, Query(ge=0, le=1_000_000, description="Only the last lines, so many.")] = None,
    attempt: Attempt = None,
) -> Response:
    """Read a log, from its first line or its last ones."""
    row = await asyncio.to_thread(using.job, job)
    folder, path = FilePath(row.folder), f"{_of_attempt(row, attempt)}logs/{name}.log"
    file = await asyncio.to_thread(open_below, folder, path)
    start = 0 if tail is None else await asyncio.to_thread(start_of_tail, file, tail)
    if follow and attempt is None:
        os.close(file)
        text = followed(lambda: _opened(folder, path), lambda: _is_over(using, job), start, using.closing)
        return StreamingResponse(text, media_type=_PLAIN, headers={"X-Accel-Buffering": "no"})
    return HeldFile(file, start, os.fstat(file).st_size, {"Content-Type": _PLAIN})


@router.get("/jobs/{job}/results", response_model=Scores, responses=problems(404))
def get_results(using: Using, job: JobId) -> Response:
    """Read the scores: over the answered samples, beside `asked`, `answered`, `failed` and `coverage`."""
    return Document({"items": using.job(job).record.get("results", [])})


@router.get("/jobs/{job}/samples", response_model=SamplePage, responses=problems(404))
def list_samples(using: Using, job: JobId, limit: Limit = None, cursor: Cursor = None) -> Response:
    """Read what became of each question. Empty until the job is over."""
    folder = FilePath(using.job(job).folder)
    size = page_size(limit, using.settings.service.max_page)
    start = position_of("samples", cursor) or 0
    try:
        file = open_below(folder, "samples.jsonl")
    except NotFound:
        return Document({"items": [], "next_cursor": None})
    with os.fdopen(file, "rb") as lines:
        lines.seek(start)
        found = [_row(line) for _, line in zip(range(size), lines, strict=False)]
        end = start + sum(consumed for _, consumed in found)
        more = cursor_of("samples", end) if end < os.fstat(lines.fileno()).st_size else None
    return Document({"items": [row for row, _ in found], "next_cursor": more})


@router.get("/jobs/{job}/artifacts", response_model=ArtifactPage, responses=problems(404))
def list_artifacts(using: Using, job: JobId, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List a job's files."""
    size = page_size(limit, using.settings.service.max_page)
    start = position_of("artifacts", cursor) or 0
    found = list(files_below(FilePath(using.job(job).folder)))
    shown = [
        {"path": path, "bytes": facts.st_size, "modified_at": when(facts.st_mtime)}
        for path, facts in found[start : start + size]
    ]
    more = cursor_of("artifacts", start + size) if len(found) > start + size else None
    return Document({"items": shown, "next_cursor": more})


@router.get(
    "/jobs/{job}/artifacts/{path:path}",
    response_class=StreamingResponse,
    responses=a_file(),
)
def get_artifact(
    request: Request,
    using: Using,
    job: JobId,
    path: Annotated[str, Path(max_length=4096, description="Path below the job's folder.", examples=["report.md"])],
) -> Response:
    """Read a file, or with `Range` a part of it."""
    return file_response(request, open_below(FilePath(using.job(job).folder), path), path)


def _of_attempt(row: JobRow, attempt: int | None) -> str:
    """Where below the job's folder the files of an attempt are: those of earlier ones were moved."""
    return "" if attempt in (None, row.attempt) else f"attempts/{attempt}/"


def _opened(folder: FilePath, path: str) -> int | None:
    with contextlib.suppress(NotFound):
        return open_below(folder, path)
    return None


def _is_over(using: Context, job: str) -> bool:
    row = using.store.job(job)
    return row is None or (row.state.terminal and not row.attempt_open)


def _row(line: bytes) -> tuple[Any, int]:
    """A sample and its length in the file. Raises: HttpError 422 where a cursor led into the middle of one."""
    try:
        return orjson.loads(line), len(line)
    except orjson.JSONDecodeError:
        raise bad_request("query.cursor", "is not a cursor of this list") from None
