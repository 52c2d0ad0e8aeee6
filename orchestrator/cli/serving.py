"""`up`, `down`, `ps`, `logs`: a served model without an evaluation; of the service where one is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from orchestrator.cli import service_deployments, service_logs
from orchestrator.cli.interrupting import run_interruptible
from orchestrator.cli.output import Exit, print_failure, print_json, stderr, stdout
from orchestrator.cli.serve_flags import with_serve_flags
from orchestrator.cli.service_address import ServiceUrl, connect, named_service
from orchestrator.cli.tables import deployment_table, plan_text
from orchestrator.deployment import (
    Deployment,
    DeploymentFolder,
    DeploymentRecord,
    all_deployments,
    find_deployment,
    new_deployment,
)
from orchestrator.errors import DeploymentError
from orchestrator.intake import read_serve
from orchestrator.plan import plan_serve
from orchestrator.reaping import reap
from orchestrator.settings import Settings

POLL = 0.1
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")]
Name = Annotated[str, typer.Argument(help="Name of the deployment, see `orchestrator ps`.", show_default=False)]
NameOrJob = Annotated[
    str,
    typer.Argument(help="Name of a deployment (`orchestrator ps`), or id of a job of the service.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(with_serve_flags(up))
    app.command()(down)
    app.command()(ps)
    app.command()(logs)


def up(
    serve: dict[str, Any],
    name: Annotated[str | None, typer.Option(help="Name. Default: engine and served model name.")] = None,
    spec: Annotated[
        Path | None,
        typer.Option(help="Spec whose `serve`, `probe` and `compress` are used; flags win.", show_default=False),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready; `down` stops it.")] = False,
    service: ServiceUrl = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Serve a model: start the engine, wait until a real generation comes back, print the URL; Ctrl-C stops it.

    With --detach and a service that --service or ORCHESTRATOR_URL names, the service serves it.
    """
    settings = Settings.load()
    if "engine" not in serve and spec is None:
        raise typer.BadParameter("give --engine, or --spec FILE")
    if detach and (url := service or named_service()):
        service_deployments.up(url, serve, name, spec, as_json=as_json, dry_run=dry_run)
        return
    if service:
        raise typer.BadParameter("a service serves with --detach only")
    wanted = read_serve(serve, spec, settings)
    if dry_run:
        plan = plan_serve(wanted.serve, settings, wanted.compress)
        print_json(plan) if as_json else stdout().print(plan_text(plan), highlight=False)
        return
    reap(settings)
    served = wanted.serve
    named = name or f"{served.engine}-{served.served_name}"
    folder = new_deployment(named, served, wanted.probe, settings, wanted.compress)
    if detach:
        _detached(folder, as_json)
    _attached(folder, settings, as_json)


def down(name: Name, service: ServiceUrl = None, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """Stop a deployment and everything it started; return when nothing of it is left."""
    if url := service or named_service():
        service_deployments.down(url, name, as_json=as_json, dry_run=dry_run)
        return
    folder = find_deployment(name, Settings.load())
    owner = folder.owner()
    if owner and not dry_run:
        os.kill(owner, signal.SIGTERM)
        while folder.owner() == owner:
            time.sleep(POLL)
    record = folder.read()
    if as_json:
        print_json(record or {})
    elif dry_run:
        stdout().print(f"would stop {name} (process {owner})" if owner else f"{name} does not run")
    elif owner is None:
        stderr().print(f"{name} does not run")
    elif record and record.teardown:
        proof = "nothing of it is left" if record.teardown.clean else f"NOT CLEAN: {record.teardown}"
        stdout().print(f"{name} is {record.state}: {record.teardown.processes} processes ended, {proof}")


def ps(service: ServiceUrl = None, as_json: AsJson = False) -> None:
    """List deployments: of this home, or of the service that --service or ORCHESTRATOR_URL names."""
    if url := service or named_service():
        service_deployments.ps(url, as_json=as_json)
        return
    records = all_deployments(Settings.load())
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
    else:
        stdout().print(deployment_table(records))


def logs(
    name: NameOrJob,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing new lines.")] = False,
    component: Annotated[
        str, typer.Option(help="`engine` (all replicas), `engine-0`, `owner`, ...; of a job also its evaluators.")
    ] = "engine",
    tail: Annotated[int | None, typer.Option(min=0, help="Of a job: only the last lines, so many.")] = None,
    service: ServiceUrl = None,
) -> None:
    """Print the logs of a deployment of this home, or of a job of the service."""
    if service_logs.is_job(name):
        with connect(service) as client:
            service_logs.print_logs(client, name, component, follow=follow, tail=tail)
        return
    folder = find_deployment(name, Settings.load())
    paths = sorted((folder.path / "logs").glob(f"{component}*.log"))
    if not paths:
        there = ", ".join(sorted(path.stem for path in (folder.path / "logs").glob("*.log"))) or "none"
        raise DeploymentError(f"{name} has no log of `{component}`", hint=f"there are: {there}")
    positions = dict.fromkeys(paths, 0)
    while True:
        for path in paths:
            with path.open("rb") as file:
                file.seek(positions[path])
                sys.stdout.buffer.write(file.read())
                positions[path] = file.tell()
        sys.stdout.flush()
        if not follow or folder.owner() is None:
            return
        time.sleep(POLL)


def _attached(folder: DeploymentFolder, settings: Settings, as_json: bool) -> NoReturn:
    deployment = Deployment(folder, settings, _step)
    interrupted, record = run_interruptible(
        lambda: deployment.run(lambda ready: _ready(ready, as_json)), lambda signal_name: deployment.stop()
    )
    if record.failure:
        print_failure(record.failure)
        raise SystemExit(Exit.FAILED)
    raise SystemExit(Exit.INTERRUPTED if interrupted else Exit.SUCCEEDED)


def _detached(folder: DeploymentFolder, as_json: bool) -> NoReturn:
    with (folder.path / "logs" / "owner.log").open("ab") as log:
        owner = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.owner", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        record = _wait_ready(folder, owner)
    except KeyboardInterrupt:
        owner.terminate()
        owner.wait()
        raise SystemExit(Exit.INTERRUPTED) from None
    if record.state == "ready":
        _ready(record, as_json)
        raise SystemExit(Exit.SUCCEEDED)
    owner.wait()
    record = folder.read() or record
    if record.failure:
        print_failure(record.failure)
    if as_json:
        print_json(record)
    raise SystemExit(Exit.FAILED)


def _wait_ready(folder: DeploymentFolder, owner: subprocess.Popen[bytes]) -> DeploymentRecord:
    shown = ""
    while True:
        ended = owner.poll() is not None
        record = folder.read()
        if record is None:
            raise DeploymentError(f"{folder.path} is gone")
        if record.pid == owner.pid and record.state != shown:
            shown = record.state
            _step(shown, "")
        if ended or (record.pid == owner.pid and record.state == "ready"):
            return record
        time.sleep(POLL)


def _ready(record: DeploymentRecord, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("url", record.url)
    table.add_row("model", record.serve.served_name)
    if record.gateway_url != record.url:
        table.add_row("gateway", record.gateway_url)
    table.add_row("answered", repr((record.answer or "")[:80]))
    table.add_row("logs", f"orchestrator logs {record.name} -f")
    table.add_row("stop", f"Ctrl-C, or orchestrator down {record.name}")
    stdout().print(table, highlight=False)


def _step(phase: str, message: str) -> None:
    stderr().print(f"[dim]{phase:<20}[/] {message}")
