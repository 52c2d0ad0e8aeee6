"""What the service answers instead of what was asked for, as errors.

    ClientError
    └── ServiceError             catch this one around anything that talks to the service
        ├── ServiceUnreachable   nothing answers at the URL, or the connection broke
        ├── BadRequest           it cannot be understood (400, 405, 408, 413, 415, 416, 422, 431)
        │   └── SpecRefused      the spec has errors; `errors` holds all of them
        ├── Unauthorized         no token, or one that does not hold (401)
        ├── Forbidden            role, host or origin does not allow it (403)
        │   └── PolicyRefused    the operator's policy does not allow what the spec asks for
        ├── NotFound             no such job, deployment, comparison, file (404)
        ├── Conflict             it does not fit the state of its target (409)
        │   └── IdempotencyConflict  the key was used before with another body
        ├── PreconditionFailed   it changed since the version that the caller saw (412)
        ├── TooMany              come again later (429)
        │   ├── RateLimited      requests; `retry_after` seconds from now
        │   └── QueueFull        queued jobs
        ├── ServiceNotReady      the service starts, stops or is full (503)
        ├── ServiceFailed        a bug of the service (other 5xx), or an answer that is none of its own
        └── StillRunning         `wait` gave up before the job was over

`code`, `message`, `hint` and `errors` are those of the problem that the service sent (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from clients.errors import ClientError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One error of what was sent; `path` is dotted: `evaluate.0.datasets.1`, `query.limit`."""

    path: str
    message: str


class ServiceError(ClientError):
    """The service did not do what it was asked."""

    code = "service"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        status: int | None = None,
        errors: Sequence[FieldProblem] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code or type(self).code
        self.status = status
        self.errors = tuple(errors)
        self.retry_after = retry_after


class ServiceUnreachable(ServiceError):
    """Nothing answers at the URL, or the connection broke."""

    code = "service_unreachable"


class BadRequest(ServiceError):
    """It cannot be understood."""

    code = "bad_request"


class SpecRefused(BadRequest):
    """The spec has errors."""

    code = "bad_spec"


class Unauthorized(ServiceError):
    """No token, or one that does not hold."""

    code = "unauthorized"


class Forbidden(ServiceError):
    """Role, host or origin does not allow it."""

    code = "forbidden"


class PolicyRefused(Forbidden):
    """The operator's policy does not allow what the spec asks for."""

    code = "policy"


class NotFound(ServiceError):
    """There is no such thing."""

    code = "not_found"


class Conflict(ServiceError):
    """It does not fit the state of its target."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The key was used before with another body."""

    code = "idempotency_conflict"


class PreconditionFailed(ServiceError):
    """It changed since the version that the caller saw."""

    code = "precondition_failed"


class TooMany(ServiceError):
    """Come again later."""

    code = "rate_limited"


class RateLimited(TooMany):
    """Too many requests."""

    code = "rate_limited"


class QueueFull(TooMany):
    """Too many queued jobs."""

    code = "queue_full"


class ServiceNotReady(ServiceError):
    """The service starts, stops or is full."""

    code = "not_ready"


class ServiceFailed(ServiceError):
    """A bug of the service, or something else answers at its address."""

    code = "internal_error"


class StillRunning(ServiceError):
    """The job is not over within the time that `wait` had."""

    code = "timeout"


_BY_CODE: dict[str, type[ServiceError]] = {
    kind.code: kind for kind in (SpecRefused, PolicyRefused, IdempotencyConflict, RateLimited, QueueFull)
}
_BY_STATUS: dict[int, type[ServiceError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    429: TooMany,
    503: ServiceNotReady,
}


def error_of(answer: httpx.Response) -> ServiceError:
    """The error that an answer (read whole) is."""
    problem = _problem(answer)
    if problem is None:
        told = f"{answer.request.url} answered {answer.status_code} and no problem document: {answer.text[:200]!r}"
        return ServiceFailed(told, hint="is this the URL of the service?", status=answer.status_code)
    code = str(problem["code"])
    kind = _BY_CODE.get(code) or _BY_STATUS.get(answer.status_code)
    kind = kind or (BadRequest if answer.status_code < 500 else ServiceFailed)
    wait = answer.headers.get("retry-after", "")
    return kind(
        str(problem["detail"]),
        code=code,
        hint=str(problem.get("hint", "")),
        status=answer.status_code,
        errors=[FieldProblem(str(one["path"]), str(one["message"])) for one in problem.get("errors", ())],
        retry_after=float(wait) if wait.isdecimal() else None,
    )


def _problem(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"code", "detail"} <= found.keys() else None
