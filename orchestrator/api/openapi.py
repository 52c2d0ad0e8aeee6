"""The schema: what the framework finds in the routes, with the job spec's own manual and an example put in."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from orchestrator.api.admission import KEY, DeploymentSpec
from orchestrator.api.problems import MEDIA_TYPE, Problem
from orchestrator.comparing.spec import ComparisonSpec
from orchestrator.record import Event
from orchestrator.spec.models import JobSpec

EXAMPLES: dict[str, dict[str, Any]] = {
    "JobSpec": {
        "name": "gsm8k-vllm",
        "serve": {"engine": "vllm", "model": "Qwen/Qwen3-8B", "tensor_parallel": 2},
        "evaluate": [{"evaluator": "opencompass", "datasets": ["demo_arithmetic"], "limit": 100}],
        "labels": {"team": "inference"},
    },
    "DeploymentSpec": {"name": "qwen", "serve": {"engine": "vllm", "model": "Qwen/Qwen3-8B"}, "keep_alive": 600},
    "ComparisonSpec": {
        "name": "engines",
        "serve": {
            "a": {"engine": "transformers", "model": "Qwen/Qwen3-8B"},
            "b": {"engine": "vllm", "model": "Qwen/Qwen3-8B"},
        },
        "evaluate": [{"evaluator": "opencompass", "datasets": ["demo_arithmetic"], "limit": 100}],
    },
}
EVERYWHERE = (401, 403, 422, 429, 500, 503)
"""Problems that every route may answer with."""
OF_A_JOB = (
    *("get_job", "cancel_job", "delete_job", "retry_job", "get_events", "list_logs", "get_results"),
    *("list_samples", "list_artifacts"),
)
"""Operations that take the id of a job."""
_BYTES = {
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {"schema": {}},
        "text/plain": {"schema": {"type": "string"}},
        "image/png": {"schema": {"type": "string", "format": "binary"}},
    }
}
_REF = "#/components/schemas/{model}"


def problems(*statuses: int, extra: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these problems beside those of every route, and answers without a body."""
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": _reference("Problem")}}}
        for status in statuses
    }
    return {**described, **{status: {"description": text} for status, text in (extra or {}).items()}}


def body_of(model: str) -> dict[str, Any]:
    """For a route's `openapi_extra`: its body is `model`, as JSON or YAML, and is read by our own parser."""
    content = {"schema": _reference(model), "example": EXAMPLES[model]}
    return {"requestBody": {"required": True, "content": {"application/json": content, "application/yaml": content}}}


def linked(parameter: str, *operations: str) -> dict[str, Any]:
    """For a response: what may be done next with what it made, by the ids of the operations."""
    given = {"parameters": {parameter: "$response.body#/id"}}
    return {"links": {operation: {"operationId": operation, **given} for operation in operations}}


def job_made() -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: it answers with a job that was queued."""
    return {202: {"description": "The job, queued.", **linked("job", *OF_A_JOB)}}


def a_file() -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: it answers with a file, or with `Range` a part of one."""
    return {
        200: {"description": "The file.", **_BYTES},
        206: {"description": "The part that `Range` asks for.", **_BYTES},
        **problems(404, 416, extra={304: "The client has this version."}),
    }


def idempotency_header() -> dict[str, Any]:
    """For a route's `openapi_extra`."""
    described = "The same key and body give the same job, for a week; with another body 409."
    return {"parameters": [_header("Idempotency-Key", described, {"pattern": KEY})]}


def if_match_header() -> dict[str, Any]:
    """For a route's `openapi_extra`."""
    described = "The `ETag` of the version that is meant: 412 when it changed since."
    return {"parameters": [_header("If-Match", described, {"pattern": '^"[0-9]{1,18}"$|^[*]$'})]}


def install_schema(app: FastAPI) -> None:
    """Have `app` serve its schema, with the models of the bodies that we read ourselves; made now, once."""
    made = _schema(app)
    app.openapi = lambda: made  # type: ignore[method-assign]


def _schema(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    named = [(model, "validation") for model in (JobSpec, DeploymentSpec, ComparisonSpec, Event, Problem)]
    _, definitions = models_json_schema(named, ref_template=_REF)  # type: ignore[arg-type]
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    found["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "Not needed on the loopback."}
    }
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return found


def _complete(path: str, operation: dict[str, Any]) -> None:
    """What holds for every route: its problems and its token."""
    operation["responses"].pop("422", None)
    for status, response in problems(*EVERYWHERE).items():
        operation["responses"].setdefault(str(status), response)
    operation["responses"] = dict(sorted(operation["responses"].items()))
    # `{}`: on the loopback nothing is asked for.
    operation["security"] = [{}] if path in ("/healthz", "/readyz") else [{"token": []}, {}]


def _header(name: str, described: str, schema: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "string", **schema}
    return {"name": name, "in": "header", "required": False, "description": described, "schema": schema}


def _reference(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}
