"""`/deployments`: models served without an evaluation; jobs with the same `serve` use them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from orchestrator.api.admission import admitted_deployment
from orchestrator.api.bodies import read_document
from orchestrator.api.conditions import is_known, wanted_version
from orchestrator.api.context import Asking, Context, Using
from orchestrator.api.openapi import body_of, if_match_header, linked, problems
from orchestrator.api.views import DeploymentPage, DeploymentView, Document, deployment_document, etag
from orchestrator.errors import Forbidden, NotFound
from orchestrator.plan import plan_serve
from orchestrator.store.rows import DeploymentRow, Role

router = APIRouter(tags=["deployments"])

DeploymentId = Annotated[str, Path(max_length=100, description="Id or name of the deployment.", examples=["qwen"])]


@router.post(
    "/deployments",
    status_code=202,
    response_model=DeploymentView,
    responses={
        200: {"description": "With `dry_run`: the plan.", "content": {"application/json": {"schema": {}}}},
        202: {"description": "It starts.", **linked("deployment", "get_deployment", "delete_deployment")},
        **problems(400, 409, 413, 415),
    },
    openapi_extra=body_of("DeploymentSpec"),
)
async def create_deployment(
    request: Request,
    using: Using,
    caller: Asking,
    dry_run: Annotated[bool, Query(description="Only the plan: nothing is stored or started.")] = False,
) -> Response:
    """Serve a model until it is deleted, or for `keep_alive` seconds without a job."""
    wanted = await asyncio.to_thread(admitted_deployment, await read_document(request), using)
    if dry_run:
        parts = wanted.parts
        return Document(await asyncio.to_thread(plan_serve, parts.serve, using.settings, parts.compress))
    row = await using.service.deploy(wanted.parts, wanted.name, wanted.keep_alive, caller.name)
    return Document(deployment_document(row), 202, headers={"Location": f"/deployments/{row.id}", **_tagged(row)})


@router.get("/deployments", response_model=DeploymentPage)
def list_deployments(
    using: Using,
    living: Annotated[bool, Query(description="Only those that are not stopped and did not fail.")] = False,
) -> Response:
    """List deployments, the newest first."""
    rows = using.store.deployments.all(living=living)
    return Document({"items": [deployment_document(row) for row in rows]})


@router.get(
    "/deployments/{deployment}",
    response_model=DeploymentView,
    responses=problems(404, extra={304: "The client has this version."}),
)
def get_deployment(request: Request, using: Using, deployment: DeploymentId) -> Response:
    """Show a deployment: its state, where clients find the model, what it holds."""
    row = _deployment(using, deployment)
    if is_known(request, etag(row.version)):
        return Response(status_code=304, headers=_tagged(row))
    return Document(deployment_document(row), headers=_tagged(row))


@router.delete(
    "/deployments/{deployment}",
    status_code=202,
    response_model=DeploymentView,
    responses=problems(404, 409, 412),
    openapi_extra=if_match_header(),
)
async def delete_deployment(request: Request, using: Using, caller: Asking, deployment: DeploymentId) -> Response:
    """Stop a deployment, which is `stopped` once nothing of it is left. 409 while jobs use it."""
    row = await asyncio.to_thread(_deployment, using, deployment)
    if row.created_by != caller.name and not caller.may(Role.ADMIN):
        raise Forbidden(f"deployment {row.name} is not of token `{caller.name}`", hint="its owner or an admin may")
    row = await using.service.undeploy(row.id, wanted_version(request))
    return Document(deployment_document(row), 202, headers=_tagged(row))


def _deployment(using: Context, given: str) -> DeploymentRow:
    found = using.store.deployments.get(given) or using.store.deployments.find(given)
    if found is None:
        raise NotFound(f"no deployment `{given}`", hint="GET /deployments lists them")
    return found


def _tagged(row: DeploymentRow) -> dict[str, Any]:
    return {"ETag": etag(row.version), "Cache-Control": "no-cache"}
