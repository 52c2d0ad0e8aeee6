"""Jobs of one OpenCompass config as tables and documents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

import yaml
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from clients.errors import ClientError
from launchers.errors import LaunchError
from orchestrator.cli.output import Exit, exit_code_of, print_json, stderr, stdout
from orchestrator.cli.tables import plan_text
from orchestrator.errors import OrchestratorError
from orchestrator.one_click.taking_over import OneClickJob, TakenOver
from orchestrator.record import JobRecord
from orchestrator.report import score_cell

_WORST = (Exit.INTERRUPTED, Exit.CANCELLED, Exit.FAILED, Exit.INCOMPLETE, Exit.SUCCEEDED)
_Error = OrchestratorError | LaunchError | ClientError
Step = Callable[[OneClickJob], Mapping[str, Any]]
"""A part of a plan; raises what is lacking."""


def worst(codes: Collection[Exit]) -> Exit:
    """The exit code of several jobs."""
    return next(code for code in _WORST if code in codes)


def tell_notes(notes: Sequence[str]) -> None:
    """What is not carried over, on standard error."""
    for note in notes:
        stderr().print(f"  note: {escape(note)}")


def as_document(jobs: list[dict[str, Any]], taken: TakenOver) -> dict[str, Any]:
    """With one model its job (or plan) itself, as of any `run`; with several all of them."""
    if len(taken.jobs) == 1:
        return jobs[0]
    return {"jobs": jobs, "skipped": [{"model": one.abbr, "reason": one.reason} for one in taken.skipped]}


def show_plans(taken: TakenOver, steps: Sequence[Step], *, as_json: bool) -> NoReturn:
    """The specs in any case; with what is lacking to run them, exit code 1."""
    plans = [_plan(job, steps) for job in taken.jobs]
    if as_json:
        print_json(as_document([document for document, _ in plans], taken))
    else:
        for job, (document, _) in zip(taken.jobs, plans, strict=True):
            stdout().print(_plan_lines(job, document), highlight=False, markup=False)
    raise SystemExit(max(code for _, code in plans))


def table(records: Sequence[JobRecord], taken: TakenOver) -> Table:
    """A row per data set of each model, then the models that were not run or left out."""
    table = Table("model", "state", "data set", "metric", box=box.SIMPLE_HEAVY)
    for column in ("coverage", "score [95% interval]", "evaluating"):
        table.add_column(column, justify="right", no_wrap=True)
    for record in records:
        model, seconds = record.labels["model"], f"{record.times.get('evaluating', 0.0):.1f} s"
        for result in record.results:
            score = Text(score_cell(result))
            table.add_row(
                Text(model), record.state, result.dataset, result.metric, f"{result.coverage:.3f}", score, seconds
            )
        if not record.results:
            table.add_row(Text(model), record.state, "-", "-", "-", Text("no score"), seconds)
    for job in taken.jobs[len(records) :]:
        table.add_row(Text(job.abbr), "not run", "-", "-", "-", "-", "-")
    for one in taken.skipped:
        table.add_row(Text(one.abbr), "left out", "-", "-", "-", "-", "-")
    return table


def _plan(job: OneClickJob, steps: Sequence[Step]) -> tuple[dict[str, Any], Exit]:
    """The plan with its spec and notes; what is lacking stands under `lacking`."""
    plan: dict[str, Any] = {}
    lacking: list[_Error] = []
    for step in steps:
        try:
            plan |= step(job)
        except (OrchestratorError, LaunchError, ClientError) as error:
            lacking.append(error)
    spec = job.spec.model_dump(mode="json", exclude_unset=True)
    told = {"model": job.abbr, "spec": spec, "notes": job.spec.notes, "lacking": [_said(error) for error in lacking]}
    return {**plan, **told}, max((exit_code_of(error) for error in lacking), default=Exit.SUCCEEDED)


def _said(error: _Error) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _plan_lines(job: OneClickJob, document: dict[str, Any]) -> str:
    shown = {key: value for key, value in document["spec"].items() if key != "notes"}
    spec = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    lines = [f"\n== {job.spec.name}", *(f"  {line}" for line in spec.splitlines()), ""]
    lines += [f"note      {note}" for note in job.spec.notes]
    if "replicas" in document:
        lines.append(plan_text(document))
    lines += [f"lacking   {one['code']}: {one['message']}\n  next    {one['hint']}" for one in document["lacking"]]
    return "\n".join(lines)
