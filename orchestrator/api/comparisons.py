"""`/comparisons`: one evaluation over several served models."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from orchestrator.api.admission import admitted_comparison
from orchestrator.api.bodies import read_document
from orchestrator.api.conditions import wanted_version
from orchestrator.api.context import Asking, Context, Using
from orchestrator.api.jobs import Cursor, Limit
from orchestrator.api.openapi import a_file, body_of, if_match_header, linked, problems
from orchestrator.api.paging import cursor_of, page_size, position_of
from orchestrator.api.places import open_below
from orchestrator.api.ranges import file_response
from orchestrator.api.views import ComparisonPage, ComparisonView, Document, comparison_document, etag
from orchestrator.comparing.model import ComparisonState
from orchestrator.errors import PreconditionFailed
from orchestrator.store.rows import ComparisonRow

router = APIRouter(tags=["comparisons"])

ComparisonId = Annotated[str, Path(max_length=100, description="Id of the comparison.")]
OF_A_COMPARISON = ("get_comparison", "cancel_comparison", "delete_comparison")
_FILES = "`comparison.html`, `comparison.md`, `comparison.json`, `flips.jsonl` or `plan.json`, as far as they are made."
IfState = Annotated[ComparisonState | None, Query(description="Only while it is in this state, else 412.")]


@router.post(
    "/comparisons",
    status_code=202,
    response_model=ComparisonView,
    responses={
        202: {"description": "It begins.", **linked("comparison", *OF_A_COMPARISON)},
        **problems(400, 409, 413, 415),
    },
    openapi_extra=body_of("ComparisonSpec"),
)
async def create_comparison(request: Request, using: Using, caller: Asking) -> Response:
    """Evaluate several served models in the same way: one job per variant, then the differences between them."""
    spec = await asyncio.to_thread(admitted_comparison, await read_document(request), using)
    row = await using.comparisons.start(spec, caller.name)
    headers = {"Location": f"/comparisons/{row.id}", **_tagged(row)}
    return Document(await asyncio.to_thread(_shown, row, using), 202, headers=headers)


@router.get("/comparisons", response_model=ComparisonPage)
def list_comparisons(using: Using, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List comparisons, the newest first."""
    size = page_size(limit, using.settings.service.max_page)
    found = using.store.comparisons.page(size + 1, position_of("comparisons", cursor))
    shown = found[:size]
    more = cursor_of("comparisons", shown[-1].number) if len(found) > size else None
    return Document({"items": [_shown(row, using) for row in shown], "next_cursor": more})


@router.get("/comparisons/{comparison}", response_model=ComparisonView, responses=problems(404))
def get_comparison(using: Using, comparison: ComparisonId) -> Response:
    """Show a comparison: its jobs, every variant's scores, the paired differences, the gate's verdict."""
    row = using.comparisons.get(comparison)
    return Document(_shown(row, using), headers=_tagged(row))


@router.post(
    "/comparisons/{comparison}/cancel",
    status_code=202,
    response_model=ComparisonView,
    responses=problems(404, 409, 412),
    openapi_extra=if_match_header(),
)
async def cancel_comparison(
    request: Request, using: Using, caller: Asking, comparison: ComparisonId, if_state: IfState = None
) -> Response:
    """Cancel a comparison: its jobs that are not over end, no other begins.

    It stays `running` until all of them are over, then it is `cancelled`, with what was found so far. 409 when it is
    over.
    """
    version = await _version(request, using, caller, comparison, if_state)
    row = await using.comparisons.cancel(comparison, version)
    return Document(await asyncio.to_thread(_shown, row, using), 202, headers=_tagged(row))


@router.delete(
    "/comparisons/{comparison}", status_code=204, responses=problems(404, 409, 412), openapi_extra=if_match_header()
)
async def delete_comparison(
    request: Request, using: Using, caller: Asking, comparison: ComparisonId, if_state: IfState = None
) -> Response:
    """Remove a comparison that is over: its record and its files. 409 while it runs.

    Its jobs stay: each is a job like any other, to be shown, compared again or deleted.
    """
    await using.comparisons.delete(comparison, await _version(request, using, caller, comparison, if_state))
    return Response(status_code=204)


@router.get("/comparisons/{comparison}/artifacts/{path:path}", response_class=StreamingResponse, responses=a_file())
def get_comparison_artifact(
    request: Request,
    using: Using,
    comparison: ComparisonId,
    path: Annotated[str, Path(max_length=4096, description=_FILES, examples=["comparison.html"])],
) -> Response:
    """Read a file of a comparison, or with `Range` a part of it: the page, the table, the answers that changed."""
    folder = using.comparisons.folder(using.comparisons.get(comparison).id)
    return file_response(request, open_below(folder.path, path), path)


async def _version(
    request: Request, using: Context, caller: Asking, comparison: str, if_state: ComparisonState | None
) -> int | None:
    """The version that must still be there when the change is made; None for any.

    Raises: NotFound, Forbidden, PreconditionFailed.
    """
    row = await asyncio.to_thread(using.comparisons.get, comparison)
    caller.require_own(f"comparison {comparison}", row.created_by)
    version = wanted_version(request)
    if if_state is not None and row.state != if_state:
        hint = f"GET /comparisons/{comparison} shows it"
        raise PreconditionFailed(f"comparison {comparison} is {row.state}, not {if_state}", hint=hint)
    return version


def _shown(row: ComparisonRow, using: Context) -> dict[str, Any]:
    asked = using.comparisons.folder(row.id).to_be_cancelled
    return comparison_document(row, using.comparisons.shown(row), cancel_requested=asked)


def _tagged(row: ComparisonRow) -> dict[str, str]:
    return {"ETag": etag(row.version), "Cache-Control": "no-cache"}
