"""`up --detach`, `down`, `ps` of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from clients.service import Deployment, ServiceClient
from orchestrator.cli.output import Exit, print_failure, print_json, stderr, stdout
from orchestrator.cli.service_address import connect
from orchestrator.cli.tables import plan_text
from orchestrator.record import Failure
from orchestrator.sending import document_of, located


def up(url: str, serve: dict[str, Any], name: str | None, spec: Path | None, *, as_json: bool, dry_run: bool) -> None:
    """Have the service serve a model; return once it is ready. Ctrl-C while it starts stops it again."""
    with connect(url) as client:
        wanted = _wanted(serve, name, spec, client.url)
        if dry_run:
            plan = client.plan_deployment(wanted)
            print_json(plan) if as_json else stdout().print(plan_text(plan), highlight=False)
            return
        found = _started(client, client.deploy(wanted))
    if as_json:
        print_json(found)
    elif found.state == "ready":
        _ready(found)
    if found.state != "ready":
        _why(found)
        raise SystemExit(Exit.FAILED)


def down(url: str, name: str, *, as_json: bool, dry_run: bool) -> None:
    """Have the service stop a deployment; return when nothing of it is left."""
    with connect(url) as client:
        found = client.deployment(name)
        if not dry_run:
            client.undeploy(found.id)
            found = client.wait_deployment(found.id, lambda one: not one.state.living)
    if as_json:
        print_json(found)
    elif dry_run:
        stdout().print(f"would stop {found.name} ({found.state})")
    else:
        teardown = found.record.get("teardown") or {}
        clean = teardown.get("clean")
        proof = "nothing of it is left" if clean else f"NOT CLEAN: {teardown}"
        stdout().print(f"{found.name} is {found.state}: {teardown.get('processes', 0)} processes ended, {proof}")


def ps(url: str, *, as_json: bool) -> None:
    """List the service's deployments."""
    with connect(url) as client:
        found = client.deployments()
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    table = Table("name", "state", "engine", "model", "url", "gpus", "by")
    for one in found:
        gpus = ",".join(map(str, one.gpus)) or "-"
        model = str(one.serve.get("served_model_name") or one.serve.get("model") or "-")
        url_now = (one.url or "-") if one.state.living else "-"
        table.add_row(one.name, one.state, str(one.serve["engine"]), model, url_now, gpus, one.created_by or "-")
    stdout().print(table)


def _wanted(serve: dict[str, Any], name: str | None, spec: Path | None, url: str) -> dict[str, Any]:
    """What to deploy: the parts of the spec that serve, flags over them."""
    document = document_of(spec, url) if spec else {}
    parts: dict[str, Any] = {key: document[key] for key in ("probe", "compress") if key in document}
    served = {**document.get("serve", {}), **located(serve, Path.cwd(), url)}
    return {**parts, **({"name": name} if name else {}), "serve": served}


def _started(client: ServiceClient, deployment: Deployment) -> Deployment:
    shown = ""

    def watch(found: Deployment) -> None:
        nonlocal shown
        phase = str(found.record.get("state", found.state))
        if phase != shown:
            shown = phase
            stderr().print(f"[dim]{phase}[/]")

    try:
        return client.wait_deployment(deployment.id, lambda found: found.state == "ready", watch=watch)
    except KeyboardInterrupt:
        client.undeploy(deployment.id)
        raise SystemExit(Exit.INTERRUPTED) from None


def _ready(found: Deployment) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("url", found.url)
    table.add_row("gateway", found.gateway_url)
    table.add_row("answered", repr(str(found.record.get("answer") or "")[:80]))
    table.add_row("stop", f"orchestrator down {found.name}")
    stdout().print(table, highlight=False)


def _why(found: Deployment) -> None:
    failure = found.record.get("failure")
    if failure and "code" in failure:
        print_failure(Failure.model_validate(failure))
    else:
        stderr().print(f"{found.name} is {found.state}")
