"""From a body to a job, a deployment or a comparison that may run: form, policy, then what this machine can do."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from clients.spec import ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.spec import ServeSpec
from orchestrator.api.access import Caller
from orchestrator.api.context import Context
from orchestrator.api.problems import bad_request
from orchestrator.comparing.intake import check_comparison
from orchestrator.comparing.spec import ComparisonSpec, jobs_of
from orchestrator.errors import BadSpec, FieldError
from orchestrator.intake import Wanted
from orchestrator.plan import plan_job
from orchestrator.secrets import check_secrets
from orchestrator.spec.checks import check_job, check_serve
from orchestrator.spec.loading import parse_as
from orchestrator.spec.models import JobSpec
from orchestrator.store.rows import Idempotency

KEY = "^[!-~]{1,200}$"
"""What an `Idempotency-Key` may be: ASCII without blanks."""


class DeploymentSpec(BaseModel):
    """A model to serve without an evaluation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """A name to find it by, unique among those that live. Default: made up."""
    serve: ServeSpec
    """What to start."""
    compress: CompressSpec | None = None
    """What to make of `serve.model` first. Default: nothing."""
    probe: ProbeSpec = ProbeSpec()
    """The real generation that proves that the engine works."""
    keep_alive: Annotated[float, Field(ge=0)] | None = None
    """Seconds without a job after which it is stopped. Default: it stays until it is deleted."""


@dataclass(frozen=True, slots=True)
class Deploying:
    """A deployment that may be started."""

    parts: Wanted
    name: str | None
    keep_alive: float | None


def admitted(document: Any, using: Context) -> JobSpec:
    """The job spec in `document`, well-formed and allowed; what this machine cannot do `submit` finds.

    The policy comes before any look at this machine: what is not allowed tells nothing about what is there.
    Raises: PolicyRefused; BadSpec with every error, also those that `submit` would find.
    """
    spec, form = parse_as(JobSpec, document, source="the job spec")
    using.rules.check(spec.serve, spec.compress, spec.evaluate)
    form += check_secrets(spec.model_dump(mode="json", exclude_unset=True))
    if form:
        _raise_all(form, check_job(spec, using.settings.jobs, using.settings), source="the job spec")
    return spec


def planned(spec: JobSpec, using: Context) -> dict[str, Any]:
    """What the job would do. Raises: BadSpec, and as `plan_job`."""
    _raise_all((), check_job(spec, using.settings.jobs, using.settings), source="the job spec")
    return plan_job(spec, using.settings.jobs, using.settings)


def admitted_deployment(document: Any, using: Context) -> Deploying:
    """As `admitted`, for a deployment."""
    spec, form = parse_as(DeploymentSpec, document, source="the deployment")
    using.rules.check(spec.serve, spec.compress, ())
    form += check_secrets(spec.model_dump(mode="json", exclude_unset=True))
    _raise_all(form, check_serve(spec.serve, using.settings, spec.compress), source="the deployment")
    return Deploying(Wanted(spec.serve, spec.probe, spec.compress), spec.name, spec.keep_alive)


def admitted_comparison(document: Any, using: Context) -> ComparisonSpec:
    """As `admitted`, for a comparison: every variant must be allowed."""
    spec, form = parse_as(ComparisonSpec, document, source="the comparison")
    for job in jobs_of(spec).values():
        using.rules.check(job.serve, job.compress, job.evaluate)
        form += check_secrets(job.model_dump(mode="json", exclude_unset=True))
    _raise_all(form, check_comparison(spec, using.settings.jobs, using.settings), source="the comparison")
    return spec


def idempotency(request: Request, caller: Caller, document: Any) -> Idempotency | None:
    """The key that the client gave, with what it belongs to. Raises: HttpError 422 for one that cannot be kept."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not re.fullmatch(KEY, key):
        raise bad_request("header.Idempotency-Key", "must be 1 to 200 ASCII characters without blanks")
    canonical = json.dumps([request.url.path, document], sort_keys=True, separators=(",", ":"))
    return Idempotency(caller.name or "", key, hashlib.sha256(canonical.encode()).hexdigest())


def _raise_all(form: Sequence[FieldError], substance: Sequence[FieldError], *, source: str) -> None:
    # Wrong keys were left out, so what is said about them here would mislead.
    kept = [one for one in substance if not any(_same(one.path, other.path) for other in form)]
    if form or kept:
        raise BadSpec(list(dict.fromkeys([*form, *kept])), source=source)


def _same(path: str, wrong: str) -> bool:
    return path == wrong or path.startswith(f"{wrong}.") or wrong.startswith(f"{path}.")
