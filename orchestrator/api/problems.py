"""Errors as clients see them: problem details (RFC 9457) with a stable `code`, for every error there is."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clients.errors import ClientError
from launchers import errors as launching
from orchestrator import errors as own
from orchestrator.errors import FieldError, OrchestratorError

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (own.BadSpec, 422),
    (own.NotFound, 404),
    (own.DeploymentError, 409),
    (own.Unauthorized, 401),
    (own.Forbidden, 403),
    (own.PreconditionFailed, 412),
    (own.QueueFull, 429),
    (own.RateLimited, 429),
    (own.Conflict, 409),
    (own.StoreError, 503),
    (own.NotReady, 503),
    (own.EvaluatorMissing, 422),
    (own.DatasetMissing, 422),
    (launching.GpuUnavailable, 409),
    (launching.PortInUse, 409),
    (launching.ForeignServer, 409),
    (launching.LaunchError, 422),
)


class FieldProblem(BaseModel):
    """One error of what was sent."""

    path: str
    """Dotted path of the key, e.g. `evaluate.0.datasets.1`; `query.limit` for a parameter."""
    message: str


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    """Always `about:blank`: `code` says what it is."""
    title: str = Field(examples=["Not Found"])
    """The status in words."""
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no job `20260101-000000-abcdef`"])
    """What happened, to what."""
    code: str = Field(examples=["not_found"])
    """Stable, for programs."""
    hint: str = ""
    """What to do."""
    errors: list[FieldProblem] = []
    """Every error of what was sent, each with the path of its key."""


class HttpError(OrchestratorError):
    """An error of HTTP itself, with its status and headers."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        errors: tuple[FieldError, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.errors = errors
        self.headers = headers or {}


def bad_request(path: str, message: str) -> HttpError:
    """A part of the request that cannot be understood: 422 with its path."""
    return HttpError(422, "bad_request", f"{path}: {message}", errors=(FieldError(path, message),))


def problem_response(error: OrchestratorError | launching.LaunchError | ClientError) -> Response:
    """The answer that says what `error` says."""
    status = error.status if isinstance(error, HttpError) else _status_of(error)
    headers = dict(error.headers) if isinstance(error, HttpError) else {}
    if isinstance(error, own.Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="orchestrator"'
    if isinstance(error, own.RateLimited):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    errors = getattr(error, "errors", ())
    return _respond(status, error.code, error.message, error.hint, errors, headers)


def internal_error(error: Exception, path: str) -> Response:
    """The answer to what nobody foresaw; the log has the rest."""
    structlog.get_logger().error("request failed", path=path, exc_info=error)
    hint = "this is a bug of the orchestrator; the service's log has the traceback"
    return _respond(500, "internal_error", f"{type(error).__name__} while answering", hint, (), {})


def register_problems(app: FastAPI) -> None:
    """Make every error of the application, and of the framework, a problem."""
    for kind in (OrchestratorError, launching.LaunchError, ClientError):
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, OrchestratorError | launching.LaunchError | ClientError)
    request.state.problem = error.code
    return problem_response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [FieldError(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
    told = "; ".join(f"{one.path}: {one.message}" for one in errors)
    return _respond(422, "bad_request", told, "", errors, {})


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        told = f"no route {request.url.path}"
        return _respond(404, "not_found", told, "GET /openapi.json lists the routes", (), {})
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods_of(request)))
        told = f"{request.method} {request.url.path} is not among its methods: {allowed}"
        return _respond(405, "method_not_allowed", told, "", (), {"Allow": allowed})
    return _respond(error.status_code, "bad_request", str(error.detail), "", (), dict(error.headers or {}))


async def _left(request: Request, error: Exception) -> Response:
    """Nobody reads it."""
    return _respond(408, "request_timeout", "the client left before its request was whole", "", (), {})


def _methods_of(request: Request) -> set[str]:
    """Methods of every route of the path: the framework names those of the first one only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    matching = (operations for path, operations in paths.items() if _pattern(path).fullmatch(request.url.path))
    return {method.upper() for operations in matching for method in operations}


def _pattern(path: str) -> re.Pattern[str]:
    parts = ("[^/]+" if part.startswith("{") else re.escape(part) for part in path.removesuffix("/{path}").split("/"))
    return re.compile("/".join(parts) + ("/.+" if path.endswith("/{path}") else ""))


def _status_of(error: Exception) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _respond(status: int, code: str, detail: str, hint: str, errors: Any, headers: dict[str, str]) -> JSONResponse:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        errors=[FieldProblem(path=one.path, message=one.message) for one in errors],
    )
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)
