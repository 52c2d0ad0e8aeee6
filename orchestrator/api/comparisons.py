"""`/comparisons`: one evaluation over several served models."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from orchestrator.api.admission import admitted_comparison
from orchestrator.api.bodies import read_document
from orchestrator.api.context import Asking, Using
from orchestrator.api.jobs import Cursor, Limit
from orchestrator.api.openapi import body_of, linked, problems
from orchestrator.api.paging import cursor_of, page_size, position_of
from orchestrator.api.views import ComparisonPage, ComparisonView, Document, comparison_document
from orchestrator.errors import NotFound

router = APIRouter(tags=["comparisons"])


@router.post(
    "/comparisons",
    status_code=202,
    response_model=ComparisonView,
    responses={
        202: {"description": "It begins.", **linked("comparison", "get_comparison")},
        **problems(400, 409, 413, 415),
    },
    openapi_extra=body_of("ComparisonSpec"),
)
async def create_comparison(request: Request, using: Using, caller: Asking) -> Response:
    """Evaluate several served models in the same way: one job per variant, then the differences between them."""
    spec = await asyncio.to_thread(admitted_comparison, await read_document(request), using)
    row = await using.comparisons.start(spec, caller.name)
    shown = await asyncio.to_thread(using.comparisons.shown, row)
    return Document(comparison_document(row, shown), 202, headers={"Location": f"/comparisons/{row.id}"})


@router.get("/comparisons", response_model=ComparisonPage)
def list_comparisons(using: Using, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List comparisons, the newest first."""
    size = page_size(limit, using.settings.service.max_page)
    found = using.store.comparisons.page(size + 1, position_of("comparisons", cursor))
    shown = found[:size]
    more = cursor_of("comparisons", shown[-1].number) if len(found) > size else None
    items = [comparison_document(row, using.comparisons.shown(row)) for row in shown]
    return Document({"items": items, "next_cursor": more})


@router.get("/comparisons/{comparison}", response_model=ComparisonView, responses=problems(404))
def get_comparison(
    using: Using,
    comparison: Annotated[str, Path(max_length=100, description="Id of the comparison.")],
) -> Response:
    """Show a comparison: its jobs, every variant's scores, the paired differences, the gate's verdict."""
    row = using.store.comparisons.get(comparison)
    if row is None:
        raise NotFound(f"no comparison `{comparison}`", hint="GET /comparisons lists them")
    return Document(comparison_document(row, using.comparisons.shown(row)))
