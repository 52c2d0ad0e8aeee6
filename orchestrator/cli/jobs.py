"""`run`, `demo`, `schema`: jobs in this process, no service needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

import eval_configs
from launchers.compress.registry import get_tool
from launchers.environments import Environments, Recipe
from launchers.registry import get_engine
from orchestrator.cli.environments import install_all
from orchestrator.cli.interrupting import run_interruptible
from orchestrator.cli.one_click import (
    Accelerator,
    Allow,
    Asked,
    Limit,
    Only,
    Serve,
    asked_of,
    is_config,
    refuse_for_specs,
)
from orchestrator.cli.one_click_run import install_for, run_config, show_config
from orchestrator.cli.output import EXIT_OF_STATE, Exit, print_failure, print_json, stderr, stdout
from orchestrator.cli.tables import plan_text, summary
from orchestrator.cli.view import LiveView
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.intake import new_job, read_job
from orchestrator.plan import plan_job
from orchestrator.reaping import reap
from orchestrator.record import State
from orchestrator.runner import Runner
from orchestrator.settings import Settings
from orchestrator.spec import JobSpec, load_spec

DEMO = Path(eval_configs.__file__).parent / "jobs" / "demo.yaml"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; start nothing.")]
Install = Annotated[bool, typer.Option("--install", help="Install missing environments first.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(demo)
    app.command()(schema)


def run(
    spec: Annotated[Path, typer.Argument(help="Job spec, YAML or JSON; or an OpenCompass config.", show_default=False)],
    accelerator: Accelerator = None,
    limit: Limit = None,
    only: Only = None,
    allow: Allow = None,
    serve: Serve = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    install: Install = False,
    resume: Annotated[str | None, typer.Option(help="Reuse the answers of this earlier job.")] = None,
) -> None:
    """Serve, probe, evaluate and tear down, here and now; the table at the end.

    An OpenCompass config (`eval_x.py -a vllm`) becomes a job per Hugging Face model, run in turn.
    Exit codes: 0 succeeded, 1 failed, 2 bad spec, 3 incomplete, 4 cancelled, 130 interrupted; of several
    jobs the worst.
    """
    settings = Settings.load()
    asked = asked_of([accelerator] if accelerator else [], limit, only, allow, serve)
    if is_config(spec):
        _config(spec, asked, settings, resume, install=install, as_json=as_json, dry_run=dry_run)
    refuse_for_specs(asked, "run")
    if install:
        install_all(missing_for(load_spec(spec)[0], settings), settings)
    job, base = read_job(spec, settings)
    if dry_run:
        show_plan(job, base, settings, as_json)
    run_job(job, base, settings, as_json, resume)


def demo(as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """The main job on a machine with nothing but Python: a real small model on a real engine, really evaluated.

    The first time it installs the engine and the evaluator, each into an environment of its own.
    """
    settings = Settings.load()
    missing = missing_for(load_spec(DEMO)[0], settings)
    if dry_run and missing:
        for recipe in missing:
            stderr().print(f"would install {recipe.name} first: {recipe.size}, {recipe.time}")
        raise SystemExit(Exit.SUCCEEDED)
    install_all(missing, settings)
    job, base = read_job(DEMO, settings)
    if dry_run:
        show_plan(job, base, settings, as_json)
    run_job(job, base, settings, as_json)


def schema() -> None:
    """Print the JSON schema of the job spec, for editors."""
    print_json(JobSpec.model_json_schema())


def missing_for(job: JobSpec, settings: Settings) -> list[Recipe]:
    """What the job names and is not installed; what is wrong with its spec is said later, all at once."""
    recipes: list[Recipe | None] = [get_evaluator(evaluate.evaluator).recipe for evaluate in job.evaluate]
    recipes.append(get_engine(job.serve.engine).recipe)
    recipes.append(get_tool(job.compress.tool).recipe if job.compress else None)
    environments = Environments(settings.environments)
    named = [recipe for recipe in dict.fromkeys(recipes) if recipe]
    return [recipe for recipe in named if environments.find(recipe) is None]


def run_job(job: JobSpec, base: Path, settings: Settings, as_json: bool, resume: str | None = None) -> NoReturn:
    """Run it in this process, show what came of it and exit with its code."""
    reap(settings)
    folder, record = new_job(job, settings, resume=resume)
    console = stderr()
    console.print(f"job {record.id}: {record.name}")
    with LiveView(console) as view:
        runner = Runner(folder, record, job, base, settings, view)
        interrupted, record = run_interruptible(runner.run, runner.interrupt)
    if as_json:
        print_json(record)
    else:
        stdout().print(summary(record))
        if record.failure:
            print_failure(record.failure)
    if interrupted and record.state is State.CANCELLED:
        raise SystemExit(Exit.INTERRUPTED)
    raise SystemExit(EXIT_OF_STATE[record.state])


def _config(
    file: Path, asked: Asked, settings: Settings, resume: str | None, *, install: bool, as_json: bool, dry_run: bool
) -> NoReturn:
    if install:
        install_for(asked, settings)
    if dry_run:
        show_config(file, asked, settings, as_json=as_json)
    run_config(file, asked, settings, resume, as_json=as_json)


def show_plan(job: JobSpec, base: Path, settings: Settings, as_json: bool) -> NoReturn:
    """Show what it would do and exit."""
    plan = plan_job(job, base, settings)
    if as_json:
        print_json(plan)
    else:
        stdout().print(plan_text(plan), highlight=False)
    raise SystemExit(Exit.SUCCEEDED)
