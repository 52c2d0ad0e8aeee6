"""`run eval_x.py -a ENGINE`: an OpenCompass config with Hugging Face models, unchanged, on another engine."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import uvloop
import yaml
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from launchers.environments import Environments
from launchers.errors import LaunchError
from launchers.registry import engine_names, get_engine
from orchestrator.cli.environments import install_all
from orchestrator.cli.output import EXIT_OF_STATE, Exit, exit_code_of, print_failure, print_json, stderr, stdout
from orchestrator.cli.tables import plan_text, summary
from orchestrator.cli.view import LiveView
from orchestrator.errors import BadSpec, FieldError, OrchestratorError
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.history import View
from orchestrator.one_click.overrides import overrides
from orchestrator.one_click.reading import WholeConfig, read_config
from orchestrator.one_click.running import InTurn
from orchestrator.one_click.taking_over import OneClickJob, TakenOver, Wishes, take_over
from orchestrator.plan import plan_job
from orchestrator.reaping import reap
from orchestrator.record import JobRecord
from orchestrator.report import score_cell
from orchestrator.settings import Settings
from orchestrator.spec.checks import require_data

_WORST = (Exit.INTERRUPTED, Exit.CANCELLED, Exit.FAILED, Exit.INCOMPLETE, Exit.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line."""

    file: Path
    accelerator: str | None
    limit: int | None
    allow: Sequence[str]
    serve: Sequence[str]
    resume: str | None
    as_json: bool
    dry_run: bool
    install: bool


def refuse_for_specs(asked: Asked) -> None:
    """Raises: BadSpec when options that are for OpenCompass configs come with a job spec."""
    given = {"-a": asked.accelerator, "--limit": asked.limit, "--allow": asked.allow, "--serve": asked.serve}
    errors = [
        FieldError(name, "is for OpenCompass configs (`run eval_x.py -a ENGINE`); a job spec says it itself")
        for name, value in given.items()
        if value
    ]
    if errors:
        raise BadSpec(errors, source="the command line")


def run_config(asked: Asked, settings: Settings) -> NoReturn:
    """Run a job per model of the config, in turn; the table over all of them at the end. Exits with the worst code."""
    wishes = _wishes(asked)
    if asked.install:
        _install(wishes.engine, settings)
    config = read_config(asked.file, settings)
    taken = take_over(config, wishes, settings)
    if asked.resume and len(taken.jobs) > 1:
        message = f"is for one model, and the config has {len(taken.jobs)}"
        raise BadSpec([FieldError("resume", message)], source="the command line")
    if asked.dry_run:
        _show_plans(config, taken, settings, as_json=asked.as_json)
    for job in taken.jobs:
        require_data(job.spec, config.file.parent, settings)
    reap(settings)
    interrupted, records = uvloop.run(_in_loop(config, taken, settings, asked))
    if asked.as_json:
        print_json(_document([record.model_dump(mode="json") for record in records], taken))
    elif len(taken.jobs) > 1:
        stdout().print(_table(records, taken))
    raise SystemExit(_exit_code(records, taken, interrupted=interrupted))


def _exit_code(records: Sequence[JobRecord], taken: TakenOver, *, interrupted: bool) -> Exit:
    """The worst one; jobs that were not run count as cancelled."""
    codes = {EXIT_OF_STATE[record.state] for record in records}
    if len(records) < len(taken.jobs):
        codes.add(Exit.CANCELLED)
    if interrupted and Exit.CANCELLED in codes:
        codes.add(Exit.INTERRUPTED)
    return next(code for code in _WORST if code in codes)


def _wishes(asked: Asked) -> Wishes:
    names = ", ".join(engine_names())
    if asked.accelerator is None:
        message = f"is needed for an OpenCompass config: the engine to run its models on, one of {names}"
        raise BadSpec([FieldError("-a", message)], source="the command line")
    if asked.accelerator not in engine_names():
        raise BadSpec(
            [FieldError("-a", f"no engine `{asked.accelerator}`; there are {names}")], source="the command line"
        )
    return Wishes(asked.accelerator, asked.limit, frozenset(asked.allow), overrides(asked.serve))


def _install(engine: str, settings: Settings) -> None:
    wanted = [get_evaluator("opencompass").recipe, get_engine(engine).recipe]
    environments = Environments(settings.environments)
    install_all([recipe for recipe in wanted if recipe and environments.find(recipe) is None], settings)


async def _in_loop(
    config: WholeConfig, taken: TakenOver, settings: Settings, asked: Asked
) -> tuple[bool, list[JobRecord]]:
    """Run with Ctrl-C and SIGTERM turned into a clean end; whether it was Ctrl-C, and the records."""
    received: list[signal.Signals] = []
    jobs = InTurn(taken.jobs, config.file.parent, settings)

    def interrupt(number: signal.Signals) -> None:
        received.append(number)
        jobs.interrupt(number.name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt, number)
    records = await jobs.run(_watched, _ended if not asked.as_json else _nothing, asked.resume)
    return bool(received) and received[0] is signal.SIGINT, records


@contextmanager
def _watched(record: JobRecord) -> Iterator[View]:
    console = stderr()
    console.print(f"job {record.id}: {escape(record.name)}")
    for note in record.notes:
        console.print(f"  note: {escape(note)}")
    with LiveView(console) as view:
        yield view


def _ended(record: JobRecord) -> None:
    stdout().print(summary(record))
    if record.failure:
        print_failure(record.failure)


def _nothing(record: JobRecord) -> None:
    """With --json one document at the end is all."""


def _show_plans(config: WholeConfig, taken: TakenOver, settings: Settings, *, as_json: bool) -> NoReturn:
    """The specs in any case; with what is missing here to run them, exit code 1."""
    plans = [_plan(job, config.file.parent, settings) for job in taken.jobs]
    if as_json:
        print_json(_document([document for document, _ in plans], taken))
    else:
        for job, (document, _) in zip(taken.jobs, plans, strict=True):
            stdout().print(_plan_lines(job, document), highlight=False, markup=False)
    raise SystemExit(max(code for _, code in plans))


def _plan(job: OneClickJob, base: Path, settings: Settings) -> tuple[dict[str, Any], Exit]:
    """The plan with its spec and notes; what is lacking stands under `lacking`."""
    spec = job.spec.model_dump(mode="json", exclude_unset=True)
    told = {"model": job.abbr, "spec": spec, "notes": list(job.notes)}
    plan: dict[str, Any] = {}
    lacking: list[OrchestratorError | LaunchError] = []
    try:
        plan = plan_job(job.spec, base, settings)
    except (OrchestratorError, LaunchError) as error:
        lacking.append(error)
    try:
        require_data(job.spec, base, settings)
    except OrchestratorError as error:
        lacking.append(error)
    codes = [Exit.SUCCEEDED, *(exit_code_of(error) for error in lacking)]
    return {**plan, **told, "lacking": [_said(error) for error in lacking]}, max(codes)


def _said(error: OrchestratorError | LaunchError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _plan_lines(job: OneClickJob, document: dict[str, Any]) -> str:
    spec = yaml.safe_dump(document["spec"], sort_keys=False, allow_unicode=True)
    lines = [f"\n== {job.spec.name}", *(f"  {line}" for line in spec.splitlines()), ""]
    lines += [f"note      {note}" for note in job.notes]
    if "replicas" in document:
        lines.append(plan_text(document))
    lines += [f"lacking   {one['code']}: {one['message']}\n  next    {one['hint']}" for one in document["lacking"]]
    return "\n".join(lines)


def _document(jobs: list[dict[str, Any]], taken: TakenOver) -> dict[str, Any]:
    """With one model its job (or plan) itself, as of any `run`; with several all of them."""
    if len(taken.jobs) == 1:
        return jobs[0]
    return {"jobs": jobs, "skipped": [{"model": one.abbr, "reason": one.reason} for one in taken.skipped]}


def _table(records: Sequence[JobRecord], taken: TakenOver) -> Table:
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
