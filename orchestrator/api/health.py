"""`/healthz`, `/readyz`, `/metrics`, `/audit`: how the service itself is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from orchestrator.api.context import Asking, Using
from orchestrator.api.jobs import Cursor, Limit
from orchestrator.api.openapi import problems
from orchestrator.api.paging import cursor_of, page_size, position_of
from orchestrator.api.problems import HttpError
from orchestrator.api.views import Document, Page, View, when
from orchestrator.store.rows import Role

router = APIRouter(tags=["the service"])


class Health(View):
    """How the service is."""

    status: str


class AuditLine(View):
    """Who did what."""

    time: str
    token: str | None
    """Name of the token; null: the local user, or nobody."""
    action: str
    """Method and route."""
    target: str
    """Path of what was made or changed."""
    outcome: str
    """`done`, or the code of the problem."""
    detail: dict[str, Any]


class AuditPage(Page):
    """Audit lines, newest first."""

    items: list[AuditLine]


@router.get("/healthz", response_model=Health)
async def get_health() -> Response:
    """Tell that the process answers."""
    return Document({"status": "ok"})


@router.get("/readyz", response_model=Health, responses=problems(503))
async def get_readiness(using: Using) -> Response:
    """Tell whether jobs are accepted and placed: 503 until everything that ran before is accounted for."""
    if not using.service.ready:
        raise HttpError(503, "not_ready", using.service.not_ready or "starting", headers={"Retry-After": "1"})
    # A store that is away shows here, not at the next submission.
    await asyncio.to_thread(using.store.counts)
    return Document({"status": "ready"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(using: Using) -> Response:
    """Read the metrics, for Prometheus."""
    return Response(using.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/audit", response_model=AuditPage)
def list_audit(using: Using, caller: Asking, limit: Limit = None, cursor: Cursor = None) -> Response:
    """Read who did what, and who was refused. Needs the role `admin`."""
    caller.require(Role.ADMIN)
    size = page_size(limit, using.settings.service.max_page)
    found = using.store.audit.page(size + 1, position_of("audit", cursor))
    shown = found[:size]
    more = cursor_of("audit", shown[-1].id) if len(found) > size else None
    items = [{key: value for key, value in asdict(row).items() if key != "id"} for row in shown]
    return Document({"items": [{**item, "time": when(item["time"])} for item in items], "next_cursor": more})
