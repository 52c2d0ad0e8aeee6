"""`top`: the replicas behind a gateway, live."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.output import print_json, stdout
from orchestrator.deployment import all_deployments
from orchestrator.errors import DeploymentError, OrchestratorError
from orchestrator.job_folder import JobFolder
from orchestrator.settings import Settings

REFRESH = 0.5
"""Seconds between two looks."""
STATE_STYLES = {"ready": "green", "starting": "yellow", "unhealthy": "yellow", "dead": "red"}
BREAKER_STYLES = {"closed": "green", "half_open": "yellow", "open": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(top)


def top(
    target: Annotated[
        str | None,
        typer.Argument(
            help="Name of a deployment, id of a job, or URL of a gateway. Default: the one thing that runs.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once and return.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Watch the replicas of a running deployment or job: state, load, breakers, restarts; Ctrl-C leaves."""
    url = gateway_of(target, Settings.load())
    with httpx.Client(base_url=url, trust_env=False, timeout=5) as http:
        seen = _look(http, url)
        if as_json:
            print_json({"url": url, **seen})
        elif once:
            stdout().print(view(url, seen))
        else:
            _follow(http, url, seen)


def view(url: str, seen: dict[str, Any]) -> Group:
    """What `GET /replicas` says, for people."""
    table = Table("replica", "state", "in flight", "served", "breaker", "restarts", "quiet", "last error", "reason")
    for replica in seen["replicas"]:
        quiet = replica["quiet_seconds"]
        table.add_row(
            replica["name"],
            Text(replica["state"], style=STATE_STYLES.get(replica["state"], "")),
            str(replica["in_flight"]),
            str(replica["served"]),
            Text(replica["breaker"], style=BREAKER_STYLES.get(replica["breaker"], "")),
            str(replica["restarts"]),
            "-" if quiet is None else f"{quiet:.1f} s",
            replica["last_error"] or "-",
            Text(replica["reason"][:60]),
        )
    limit = "no limit" if seen["limit"] is None else f"limit {seen['limit']}"
    head = f"{url}: {seen['in_flight']} in flight, {limit}, {seen['requests_held']} held"
    return Group(Text(head, style="bold"), table)


def gateway_of(target: str | None, settings: Settings) -> str:
    """URL of the gateway that a name, a job's id or a URL means.

    Raises: DeploymentError when there is none, or nothing is named and not exactly one thing runs.
    """
    if target is not None and ("://" in target or ":" in target):
        parts = urlsplit(target if "://" in target else f"http://{target}")
        return f"{parts.scheme}://{parts.netloc}"
    running = _running(settings)
    if target is None and len(running) == 1:
        return next(iter(running.values()))
    if target in running:
        return running[target]
    hint = f"these run: {', '.join(running) or 'none'}; a URL of a gateway may be given as well"
    raise DeploymentError(f"no deployment or job `{target}` runs" if target else "name what to watch", hint=hint)


def _running(settings: Settings) -> dict[str, str]:
    """Name or id -> gateway URL of every deployment and job that runs."""
    deployments = {
        record.name: record.gateway_url
        for record in all_deployments(settings)
        if record.gateway_url and record.state not in ("stopping", "stopped", "failed")
    }
    jobs = (JobFolder(path.parent) for path in sorted(settings.jobs.glob("*/job.json")))
    return {**deployments, **{folder.id: url for folder in jobs if folder.owned() and (url := _job_url(folder))}}


def _job_url(folder: JobFolder) -> str | None:
    with contextlib.suppress(OrchestratorError):
        record = folder.read()
        if not record.state.terminal and (port := record.resources.get("gateway_port")):
            return f"http://127.0.0.1:{port}"
    return None


def _look(http: httpx.Client, url: str) -> dict[str, Any]:
    try:
        seen = http.get("/replicas").raise_for_status().json()
    except httpx.HTTPStatusError as error:
        raise DeploymentError(f"{url} has no /replicas: {error}", hint="give the URL of a gateway") from error
    except (httpx.HTTPError, ValueError) as error:
        raise DeploymentError(f"no gateway answers at {url}: {error}", hint="see `orchestrator ps`") from error
    if not isinstance(seen, dict) or "replicas" not in seen:
        raise DeploymentError(f"{url}/replicas is not a gateway's", hint="give the URL of a gateway")
    return seen


def _follow(http: httpx.Client, url: str, seen: dict[str, Any]) -> None:
    """Until Ctrl-C, or until the gateway is gone."""
    with Live(view(url, seen), console=stdout(), auto_refresh=False) as live, contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(REFRESH)
            live.update(view(url, _look(http, url)), refresh=True)
