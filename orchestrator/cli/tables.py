"""Tables for people."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from clients.fidelity import Fidelity
from orchestrator.cli.speed_tables import speed_parts
from orchestrator.deployment import DeploymentRecord
from orchestrator.record import JobRecord, State
from orchestrator.report import requests_line, score_cell

VERDICTS = {"ok": "green", "note": "yellow", "unknown": "dim", "falsifies": "bold red"}
COLOURS = {State.SUCCEEDED: "green", State.INCOMPLETE: "yellow", State.CANCELLED: "yellow"}


def summary(record: JobRecord) -> Group:
    """A finished job: scores, phases, speed, teardown, where things are."""
    colour = COLOURS.get(record.state, "red")
    title = Text.from_markup(f"\n{escape(record.name)}: [bold {colour}]{record.state}[/]")
    parts: list[Any] = [title]
    if record.results:
        parts.append(_scores(record))
    parts.extend(speed_parts(record.speed))
    parts.append(_facts(record))
    return Group(*parts)


def deployment_table(records: Sequence[DeploymentRecord]) -> Table:
    """One row per deployment."""
    table = Table("name", "state", "engine", "model", "url", "gpus", "pid")
    for record in records:
        gpus = ",".join(map(str, record.resources.get("gpus", []))) or "-"
        pid = str(record.pid) if record.pid and record.state not in ("stopped", "failed") else "-"
        url = (record.url or "-") if pid != "-" else "-"
        table.add_row(record.name, record.state, record.serve.engine, record.serve.served_name, url, gpus, pid)
    return table


def findings_table(checked: Fidelity) -> Table:
    """One row per finding, with what to do about it."""
    table = Table(box=box.SIMPLE, title=f"fidelity, {checked.seconds:.1f} s", title_justify="left")
    for column in ("check", "verdict", "what was found"):
        table.add_column(column)
    for finding in checked.findings:
        advice = f"\n-> {finding.advice}" if finding.advice and finding.verdict != "ok" else ""
        verdict = Text(finding.verdict, style=VERDICTS[finding.verdict])
        table.add_row(finding.name, verdict, Text(finding.fact + advice))
    return table


def plan_text(plan: dict[str, Any]) -> str:
    """A plan as lines that can be copied into a shell."""
    lines = [f"engine    {plan['engine']}", f"gpus      {plan['gpus'] or 'none'}"]
    lines.append(f"gateway   http://127.0.0.1:{plan['gateway_port']}/v1")
    if plan["external"]:
        lines.append(f"external  {plan['external']}")
    if made := plan.get("compress"):
        lines.extend(_compress_lines(made))
    for replica in plan["replicas"]:
        nccl = f", nccl_port {replica['nccl_port']}" if replica["nccl_port"] else ""
        lines.append(
            f"\n{replica['name']}: {replica['host']}:{replica['port']}{nccl}, gpus {replica['gpus'] or 'none'}"
        )
        lines.append(f"  cd {replica['cwd']}")
        lines.extend(f"  export {name}={shlex.quote(value)}" for name, value in sorted(replica["env"].items()))
        lines.append(f"  {shlex.join(replica['argv'])}")
        lines.extend(f"  # {note}" for note in replica["notes"])
    for evaluator in plan.get("evaluators", []):
        lines.append(f"\n{evaluator['evaluator']}: {evaluator['concurrency']} requests in flight")
        lines.extend(f"  export {name}={shlex.quote(value)}" for name, value in sorted(evaluator["env"].items()))
        lines.append(f"  {shlex.join(evaluator['argv'])}")
    return "\n".join(lines)


def _compress_lines(made: dict[str, Any]) -> list[str]:
    if made["cached"]:
        return [f"\ncompress: made before, {made['produced']}"]
    head = f"\ncompress: {made['tool']} {made['version'] or ''} makes {made['produced']}, gpus {made['gpus'] or 'none'}"
    return [head, *(f"  {shlex.join(argv)}" for argv in made["argv"])]


def _scores(record: JobRecord) -> Table:
    table = Table("data set", "metric", box=box.SIMPLE_HEAVY)
    for column in ("asked", "answered", "failed", "coverage", "score [95% interval]"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in record.results:
        table.add_row(
            result.dataset,
            result.metric,
            str(result.asked),
            str(result.answered),
            str(result.failed),
            f"{result.coverage:.3f}",
            Text(score_cell(result)),
        )
    return table


def _facts(record: JobRecord) -> Table:
    table = Table.grid(padding=(0, 2))
    phases = "  ".join(f"{phase} {seconds:.1f} s" for phase, seconds in record.times.items())
    table.add_row("time", f"{phases}  total {sum(record.times.values()):.1f} s")
    if record.gateway:
        table.add_row("requests", requests_line(record.gateway))
    if record.teardown:
        proof = record.teardown
        left = "none left" if not proof.survivors else f"LEFT: {proof.survivors}"
        ports = "ports free" if set(proof.ports.values()) <= {"free"} else f"ports {proof.ports}"
        clean = "clean" if proof.clean else "NOT CLEAN"
        table.add_row("teardown", f"{clean}: {proof.processes} processes ended, {left}, {ports}")
    table.add_row("report", Text(record.report or "-"))
    table.add_row("samples", Text(f"{record.folder}/samples.jsonl"))
    for name, path in record.logs.items():
        table.add_row("log", Text(f"{path}  ({name})"))
    return table
