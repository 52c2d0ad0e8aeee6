"""`submit`, `jobs`, `show`, `watch`, `cancel`, `retry`: the service from a terminal."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, NoReturn

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from clients.service import Job, JobSummary, NotFound, ServiceClient, State
from orchestrator.cli.one_click import Accelerator, Allow, Limit, Only, Serve, asked_of, is_config, refuse_for_specs
from orchestrator.cli.one_click_submit import submit_config
from orchestrator.cli.output import Exit, print_json, stderr, stdout
from orchestrator.cli.service_address import ServiceUrl, connect
from orchestrator.cli.tables import plan_text
from orchestrator.cli.watching import finished, watched
from orchestrator.errors import BadSpec, FieldError
from orchestrator.sending import document_of

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay until it is over: progress, table, exit code.")]
JobId = Annotated[str, typer.Argument(help="Id of the job, see `orchestrator jobs`.", show_default=False)]
JobOrComparison = Annotated[str, typer.Argument(help="Id of the job or comparison.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, jobs, show, watch, cancel, retry):
        app.command()(command)


def submit(
    spec: Annotated[Path, typer.Argument(help="Job spec, YAML or JSON; or an OpenCompass config.", show_default=False)],
    accelerator: Accelerator = None,
    limit: Limit = None,
    only: Only = None,
    allow: Allow = None,
    serve: Serve = None,
    watch: Watch = False,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key and spec never make a second job.")
    ] = None,
    service: ServiceUrl = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Queue a job with the service and print its id; with --watch as `run` does.

    An OpenCompass config (`eval_x.py -a vllm`) becomes a job per Hugging Face model.
    Exit codes: 0 accepted (or succeeded, with --watch), 1 refused or failed, 2 bad spec, 3 incomplete, 4 cancelled;
    of several jobs the worst.
    """
    asked = asked_of([accelerator] if accelerator else [], limit, only, allow, serve)
    with connect(service) as client:
        if is_config(spec):
            submit_config(spec, asked, client, key, watch=watch, as_json=as_json, dry_run=dry_run)
            return
        refuse_for_specs(asked, "submit")
        document = document_of(spec, client.url)
        if dry_run:
            plan = client.plan(document)
            print_json(plan) if as_json else stdout().print(plan_text(plan), highlight=False)
            return
        _began(client, client.submit(document, idempotency_key=key), watch, as_json)


def jobs(
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only jobs on this engine.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this label, KEY:VALUE; repeat it for several.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="So many at most, the newest ones.")] = 20,
    service: ServiceUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the service's jobs, the newest first."""
    with connect(service) as client:
        found = client.jobs(state=state, engine=engine, labels=_labels(label or []), page=min(last, 100))
        shown = [job for job, _ in zip(found, range(last), strict=False)]
    if as_json:
        print_json([job.model_dump(mode="json") for job in shown])
    else:
        stdout().print(job_table(shown))


def show(job: JobId, service: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Show a job of the service: state, progress, times, scores, failure."""
    with connect(service) as client:
        found = client.job(job)
    if as_json:
        print_json(found)
    elif found.state.terminal:
        finished(found)
    else:
        _describe(found)


def watch(job: JobId, service: ServiceUrl = None, as_json: AsJson = False) -> None:
    """Follow a job of the service to its end, from its first event; Ctrl-C leaves it running.

    Exit codes: 0 succeeded, 1 failed, 3 incomplete, 4 cancelled, 130 interrupted.
    """
    with connect(service) as client:
        _watch(client, job, as_json)


def cancel(job: JobOrComparison, service: ServiceUrl = None, as_json: AsJson = False, dry_run: DryRun = False) -> None:
    """End a job of the service: at once where it waits, else as soon as everything of it is torn down.

    Of a comparison all jobs end that are not over.
    """
    with connect(service) as client:
        try:
            found = client.job(job) if dry_run else client.cancel(job)
        except NotFound:
            _cancel_comparison(client, job, as_json, dry_run)
            return
    if as_json:
        print_json(found)
    elif dry_run:
        what = f"is {found.state}: nothing to cancel" if found.state.terminal else f"would be cancelled ({found.state})"
        stdout().print(f"job {job} {what}")
    elif found.state.terminal:
        stdout().print(f"job {job} is {found.state}")
    else:
        stdout().print(f"job {job} is torn down; `orchestrator watch {job}` tells when nothing of it is left")


def retry(
    job: JobId, watch: Watch = False, service: ServiceUrl = None, as_json: AsJson = False, dry_run: DryRun = False
) -> None:
    """Queue a new job with the spec of one that is over; what it answered already is not asked again."""
    with connect(service) as client:
        if dry_run:
            plan = client.plan(client.job(job).spec)
            print_json(plan) if as_json else stdout().print(plan_text(plan), highlight=False)
            return
        _began(client, client.retry(job), watch, as_json)


def job_table(jobs: list[JobSummary]) -> Table:
    """One row per job."""
    table = Table("id", "name", "state", "engine", "model", "progress", "scores")
    for job in jobs:
        model = PurePath(job.model).name if job.model else "-"
        table.add_row(job.id, escape(job.name), _state(job), job.engine, model, _progress(job), scores(job))
    return table


def scores(job: JobSummary | Job) -> str:
    """`gsm8k 71.2`, for each data set that has a score."""
    return ", ".join(f"{one.dataset} {one.score:.1f}" for one in job.results if one.score is not None) or "-"


def _cancel_comparison(client: ServiceClient, comparison: str, as_json: bool, dry_run: bool) -> None:
    try:
        found = client.comparison(comparison) if dry_run else client.cancel_comparison(comparison)
    except NotFound as missing:
        raise NotFound(f"no job and no comparison `{comparison}`", code=missing.code, hint=missing.hint) from missing
    if as_json:
        print_json(found)
    elif not dry_run:
        stdout().print(f"comparison {comparison} ends: its jobs are torn down, no other begins")
    else:
        over = found.state != "running"
        what = f"is {found.state}: nothing to cancel" if over else "would be cancelled with its jobs"
        stdout().print(f"comparison {comparison} {what}")


def _began(client: ServiceClient, job: Job, watch: bool, as_json: bool) -> None:
    if watch:
        stderr().print(f"job {job.id}: {escape(job.name)}")
        _watch(client, job.id, as_json)
    elif as_json:
        print_json(job)
    else:
        stdout().print(job.id, highlight=False)
        stderr().print(f"{escape(job.name)} is {job.state}; orchestrator watch {job.id}")


def _watch(client: ServiceClient, job: str, as_json: bool) -> NoReturn:
    try:
        found = watched(client, job)
    except KeyboardInterrupt:
        stderr().print(f"job {job} goes on; orchestrator cancel {job} ends it")
        raise SystemExit(Exit.INTERRUPTED) from None
    if as_json:
        print_json(found)
        raise SystemExit(exit_code(found))
    finished(found)
    raise SystemExit(exit_code(found))


def exit_code(job: Job) -> Exit:
    """The contract's exit code of a job that is over."""
    return {
        State.SUCCEEDED: Exit.SUCCEEDED,
        State.INCOMPLETE: Exit.INCOMPLETE,
        State.CANCELLED: Exit.CANCELLED,
    }.get(job.state, Exit.FAILED)


def _describe(job: Job) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("job", f"{job.id}  {job.name}")
    table.add_row(
        "state", f"{job.state}, attempt {job.attempt}" + (", to be cancelled" if job.cancel_requested else "")
    )
    if job.waiting:
        table.add_row("waiting", Text(job.waiting))
    if job.progress.done:
        table.add_row("progress", _progress(job))
    if job.times:
        table.add_row("time", "  ".join(f"{phase} {seconds:.1f} s" for phase, seconds in job.times.items()))
    table.add_row("gpus", ", ".join(map(str, job.resources.get("gpus", []))) or "none")
    table.add_row("logs", f"orchestrator logs {job.id} -f")
    stdout().print(table, highlight=False)


def _state(job: JobSummary) -> str:
    return f"{job.state} ({job.failure.code})" if job.failure else job.state.value


def _progress(job: JobSummary | Job) -> str:
    total = "?" if job.progress.total is None else job.progress.total
    return f"{job.progress.done}/{total}" if job.progress.done or job.progress.total else "-"


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        key, colon, value = text.partition(":")
        if not colon:
            raise BadSpec([FieldError("label", f"{text!r} is not KEY:VALUE")], source="the command line")
        labels[key] = value
    return labels
