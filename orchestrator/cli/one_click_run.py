"""`run eval_x.py -a ENGINE`: an OpenCompass config with Hugging Face models, unchanged, on another engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.markup import escape

from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.cli.environments import install_all
from orchestrator.cli.interrupting import run_interruptible
from orchestrator.cli.one_click import Asked, check_engines, taken_over
from orchestrator.cli.one_click_view import as_document, show_plans, table, tell_notes, worst
from orchestrator.cli.output import EXIT_OF_STATE, Exit, print_failure, print_json, stderr, stdout
from orchestrator.cli.tables import summary
from orchestrator.cli.view import LiveView
from orchestrator.errors import BadSpec, FieldError
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.history import View
from orchestrator.one_click.running import InTurn
from orchestrator.one_click.taking_over import OneClickJob, TakenOver
from orchestrator.plan import plan_job
from orchestrator.reaping import reap
from orchestrator.record import JobRecord
from orchestrator.settings import Settings
from orchestrator.spec.checks import require_data


def install_for(asked: Asked, settings: Settings) -> None:
    """Install OpenCompass and the engine, where they are missing. Raises: BadSpec without an engine."""
    check_engines(asked.engines)
    recipes = [get_evaluator("opencompass").recipe, *(get_engine(engine).recipe for engine in asked.engines)]
    environments = Environments(settings.environments)
    install_all([recipe for recipe in recipes if recipe and environments.find(recipe) is None], settings)


def run_config(file: Path, asked: Asked, settings: Settings, resume: str | None, *, as_json: bool) -> NoReturn:
    """Run a job per model of the config, in turn; the table over all of them at the end. Exits with the worst code."""
    config, taken = taken_over(file, asked, settings)
    if resume and len(taken.jobs) > 1:
        message = f"is for one model, and the config has {len(taken.jobs)}"
        raise BadSpec([FieldError("resume", message)], source="the command line")
    for job in taken.jobs:
        require_data(job.spec, config.file.parent, settings)
    reap(settings)
    jobs = InTurn(taken.jobs, config.file.parent, settings)
    ended = _nothing if as_json else _ended
    interrupted, records = run_interruptible(lambda: jobs.run(_watched, ended, resume), jobs.interrupt)
    if as_json:
        print_json(as_document([record.model_dump(mode="json") for record in records], taken))
    elif len(taken.jobs) > 1:
        stdout().print(table(records, taken))
    raise SystemExit(_exit_code(records, taken, interrupted=interrupted))


def show_config(file: Path, asked: Asked, settings: Settings, *, as_json: bool) -> NoReturn:
    """What `run_config` would do in this process, and what it lacks for that."""
    config, taken = taken_over(file, asked, settings)
    base = config.file.parent

    def data(job: OneClickJob) -> Mapping[str, Any]:
        require_data(job.spec, base, settings)
        return {}

    show_plans(taken, (lambda job: plan_job(job.spec, base, settings), data), as_json=as_json)


def _exit_code(records: Sequence[JobRecord], taken: TakenOver, *, interrupted: bool) -> Exit:
    """The worst one; jobs that were not run count as cancelled."""
    codes = {EXIT_OF_STATE[record.state] for record in records}
    if len(records) < len(taken.jobs):
        codes.add(Exit.CANCELLED)
    if interrupted and Exit.CANCELLED in codes:
        codes.add(Exit.INTERRUPTED)
    return worst(codes)


@contextmanager
def _watched(record: JobRecord) -> Iterator[View]:
    console = stderr()
    console.print(f"job {record.id}: {escape(record.name)}")
    tell_notes(record.notes)
    with LiveView(console) as view:
        yield view


def _ended(record: JobRecord) -> None:
    stdout().print(summary(record))
    if record.failure:
        print_failure(record.failure)


def _nothing(record: JobRecord) -> None:
    """With --json one document at the end is all."""
