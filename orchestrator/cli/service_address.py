"""Where the service is, and how commands talk to it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from clients.service import ServiceClient, ServiceUnreachable
from orchestrator.assignment import read_address
from orchestrator.settings import Settings

URL_VARIABLE = "ORCHESTRATOR_URL"
TOKEN_VARIABLE = "ORCHESTRATOR_TOKEN"

ServiceUrl = Annotated[
    str | None,
    typer.Option("--service", help=f"URL of the service. Default: ${URL_VARIABLE}, else the one of this home."),
]


def connect(url: str | None) -> ServiceClient:
    """A client of the service at `url`, else at `$ORCHESTRATOR_URL`, else of the one that serves this home.

    It sends `$ORCHESTRATOR_TOKEN`. Raises: ServiceUnreachable when no service is known.
    """
    return ServiceClient(url or named_service() or _of_this_home(), os.environ.get(TOKEN_VARIABLE) or None)


def named_service() -> str | None:
    """The service that the environment names."""
    return os.environ.get(URL_VARIABLE) or None


def _of_this_home() -> str:
    settings = Settings.load()
    address = read_address(settings.root)
    if address is None:
        hint = f"start one with `orchestrator serve`, or say where it is: --service URL or {URL_VARIABLE}"
        raise ServiceUnreachable(f"no service was ever started in {settings.root}", hint=hint)
    return address.url
