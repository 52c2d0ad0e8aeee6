"""The application, put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from orchestrator.api import (
    comparisons,
    deployments,
    health,
    inventory,
    job_files,
    jobs,
    reports,
)
from orchestrator.api.access import Doorman
from orchestrator.api.audit import Audit
from orchestrator.api.comparing import Comparisons
from orchestrator.api.context import Context, known_parameters
from orchestrator.api.gate import Gate
from orchestrator.api.metrics import Metrics
from orchestrator.api.openapi import install_schema
from orchestrator.api.problems import register_problems
from orchestrator.api.rules import Rules
from orchestrator.service.core import Service
from orchestrator.settings import Settings

DESCRIPTION = """Serve a language model in the engine that will run it, evaluate it there, and trust the numbers.

Errors are problem details (RFC 9457) with a stable `code`. Lists are pages: pass `next_cursor` as `cursor`. On the
loopback nothing is asked for; otherwise send `Authorization: Bearer TOKEN`, with a role: `read` for every GET, `submit`
for the rest, `admin` for other people's jobs and the audit log."""


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The REST service over `service`.

    Raises: Unprotected when others could reach it and there is no token.
    """
    doorman = Doorman(settings.service, service.store)
    audit, metrics = Audit(service.store), Metrics(service)
    compared = Comparisons(service)
    context = Context(service, settings, Rules.of(settings), compared, metrics, asyncio.Event())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(audit.run()), asyncio.create_task(compared.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title="Serve, then evaluate",
        version=version("serve-then-evaluate"),
        description=DESCRIPTION,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(known_parameters)],
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    app.state.closing = context.closing
    for module in (jobs, job_files, deployments, comparisons, inventory, health, reports):
        app.include_router(module.router)
    register_problems(app)
    install_schema(app)
    app.add_middleware(
        Gate,
        doorman=doorman,
        audit=audit,
        observe=metrics.request,
        max_body=settings.service.max_body,
        max_requests=settings.service.max_connections,
    )
    if origins := settings.service.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    return app
