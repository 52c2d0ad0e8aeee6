"""What the routes share, and how they get it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from orchestrator.api.access import Caller
from orchestrator.api.comparing import Comparisons
from orchestrator.api.metrics import Metrics
from orchestrator.api.problems import HttpError
from orchestrator.api.rules import Rules
from orchestrator.errors import FieldError, NotFound
from orchestrator.service.core import Service
from orchestrator.settings import Settings
from orchestrator.spec.loading import nearest
from orchestrator.store.rows import JobRow
from orchestrator.store.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """One application's service and settings."""

    service: Service
    settings: Settings
    rules: Rules
    comparisons: Comparisons
    metrics: Metrics
    closing: asyncio.Event
    """Set when the service stops: streams end."""

    @property
    def store(self) -> Store:
        """The service's store."""
        return self.service.store

    def job(self, job_id: str) -> JobRow:
        """Raises: NotFound."""
        found = self.store.job(job_id)
        if found is None:
            raise NotFound(f"no job `{job_id}`", hint="GET /jobs lists them")
        return found


async def context_of(request: Request) -> Context:
    """The context of the application that answers. A coroutine, as the next one: others are run in a thread each."""
    context: Context = request.app.state.context
    return context


async def caller_of(request: Request) -> Caller:
    """Who asks, as the gate found."""
    caller: Caller = request.state.caller
    return caller


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and those given twice.

    Raises: HttpError 422 with the nearest name of each.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if not given:
        return
    known = parameters_of(request.app, request.scope["route"].path, request.method)
    errors = [
        FieldError(f"query.{name}", "is given twice" if name in known else nearest(name, known))
        for name in dict.fromkeys(given)
        if name not in known or (given.count(name) > 1 and name not in SEVERAL)
    ]
    if errors:
        told = "; ".join(f"{error.path}: {error.message}" for error in errors)
        raise HttpError(422, "bad_request", told, errors=tuple(errors))


def parameters_of(app: FastAPI, path: str, method: str) -> set[str]:
    """Names of a route's query parameters, as the schema has them."""
    operation = app.openapi()["paths"].get(path, {}).get(method.lower(), {})
    return {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}


SEVERAL = frozenset({"label"})
"""Parameters that may be repeated."""
Using = Annotated[Context, Depends(context_of)]
Asking = Annotated[Caller, Depends(caller_of)]
