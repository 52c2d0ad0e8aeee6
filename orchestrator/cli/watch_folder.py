"""`watch-folder`: each new whole checkpoint of a training run becomes a job, once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from clients.service import JobSummary, ServiceClient, State
from orchestrator.checkpoints import Checkpoint, Completeness, whole_checkpoints
from orchestrator.cli.output import Exit, print_json, stderr, stdout
from orchestrator.cli.service_address import ServiceUrl, connect
from orchestrator.errors import BadSpec, FieldError
from orchestrator.sending import document_of

FOLDER_LABEL = "watch_folder"
KEY_LABEL = "checkpoint"
WORST = (State.FAILED, State.INCOMPLETE, State.CANCELLED)
EXITS = {State.FAILED: Exit.FAILED, State.INCOMPLETE: Exit.INCOMPLETE, State.CANCELLED: Exit.CANCELLED}


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder, and the spec of the job that each checkpoint in it becomes."""

    folder: Path
    spec: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """What the jobs are found by: this folder with this spec."""
        digest = hashlib.sha256(json.dumps([str(self.folder), self.spec], sort_keys=True).encode()).hexdigest()
        return {FOLDER_LABEL: digest[:16]}

    def job(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The spec of one checkpoint's job."""
        base = self.spec.get("name") or self.folder.name
        return {
            **self.spec,
            "name": f"{base}: {checkpoint.path.name}"[:200],
            "serve": {**self.spec["serve"], "model": str(checkpoint.path)},
            "labels": {**self.spec.get("labels", {}), **self.labels, KEY_LABEL: checkpoint.key},
        }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch_folder)


def watch_folder(
    folder: Annotated[Path, typer.Argument(help="Where a training run writes its checkpoints.", show_default=False)],
    spec: Annotated[Path, typer.Option(help="Spec of the jobs; its `serve.model` becomes the checkpoint.")],
    marker: Annotated[str | None, typer.Option(help="File that is written into a checkpoint last.")] = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds without a write after which it counts.")] = 10.0,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Take what is there, wait for its jobs, end.")] = False,
    service: ServiceUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the jobs as a JSON document at the end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print which checkpoints would become jobs.")] = False,
) -> None:
    """Evaluate each new checkpoint of a folder, once, and show their scores side by side; Ctrl-C ends it.

    Whole is a checkpoint with config and weights, every shard of its index there and as long as its header says,
    nothing written for --settle seconds; or one with the --marker file. Jobs that run go on after Ctrl-C.
    Exit codes with --once: those of the worst job.
    """
    if not folder.is_dir():
        raise BadSpec([FieldError("folder", f"{folder} is not a folder")], source="the command line")
    rule = Completeness(settle, marker)
    with connect(service) as client:
        watched = Watched(folder.resolve(), _template(spec, client.url))
        if dry_run:
            _show_new(watched, client, rule, as_json)
            return
        try:
            jobs = _to_the_end(client, watched, rule, every, once=once)
        except KeyboardInterrupt:
            _end(client.jobs(labels=watched.labels), as_json, Exit.INTERRUPTED)
    _end(jobs, as_json, _worst(jobs))


def _to_the_end(
    client: ServiceClient, watched: Watched, rule: Completeness, every: float, *, once: bool
) -> list[JobSummary]:
    """Submit and tell until all jobs are over; for ever unless `once`."""
    told: dict[str, State] = {}
    while True:
        for checkpoint in _new(client, watched, rule):
            job = client.submit(watched.job(checkpoint), idempotency_key=_once(watched, checkpoint))
            stderr().print(f"{escape(checkpoint.path.name)}: job {job.id}")
        jobs = list(client.jobs(labels=watched.labels))
        ended = [job for job in jobs if job.state.terminal and told.get(job.id) != job.state]
        told |= {job.id: job.state for job in ended}
        if ended and not once:
            stdout().print(checkpoint_table(jobs))
        if once and all(job.state.terminal for job in jobs):
            return jobs
        time.sleep(every)


def _new(client: ServiceClient, watched: Watched, rule: Completeness) -> list[Checkpoint]:
    """Whole checkpoints without a job: those of an earlier run of the command have theirs."""
    known = {job.labels.get(KEY_LABEL) for job in client.jobs(labels=watched.labels)}
    return [checkpoint for checkpoint in whole_checkpoints(watched.folder, rule) if checkpoint.key not in known]


def _once(watched: Watched, checkpoint: Checkpoint) -> str:
    """The idempotency key: two commands on one folder make one job."""
    return f"{FOLDER_LABEL}-{watched.labels[FOLDER_LABEL]}-{checkpoint.key}"


def checkpoint_table(jobs: Sequence[JobSummary]) -> Table:
    """One row per checkpoint, the oldest first, one column per data set."""
    columns = list(dict.fromkeys((one.dataset, one.metric) for job in reversed(jobs) for one in job.results))
    table = Table("checkpoint", "state", "coverage")
    for dataset, metric in columns:
        table.add_column(f"{dataset} {metric}", justify="right")
    for job in reversed(jobs):
        found = {(one.dataset, one.metric): one for one in job.results}
        coverage = min((one.coverage for one in job.results), default=None)
        cells = [f"{found[key].score:.2f}" if key in found and found[key].score is not None else "-" for key in columns]
        state = f"{job.state} ({job.failure.code})" if job.failure else job.state.value
        table.add_row(Path(job.model or "-").name, state, "-" if coverage is None else f"{coverage:.3f}", *cells)
    return table


def _end(jobs: Any, as_json: bool, code: Exit) -> NoReturn:
    found = list(jobs)
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
    else:
        stdout().print(checkpoint_table(found))
    raise SystemExit(code)


def _worst(jobs: Sequence[JobSummary]) -> Exit:
    states = {job.state for job in jobs}
    return next((EXITS[state] for state in WORST if state in states), Exit.SUCCEEDED)


def _template(spec: Path, url: str) -> dict[str, Any]:
    document = document_of(spec, url)
    if not isinstance(document.get("serve"), dict):
        raise BadSpec([FieldError("serve", "is missing")], source=str(spec))
    return document


def _show_new(watched: Watched, client: ServiceClient, rule: Completeness, as_json: bool) -> None:
    found = _new(client, watched, rule)
    if as_json:
        print_json([watched.job(checkpoint) for checkpoint in found])
        return
    for checkpoint in found:
        stdout().print(f"would evaluate {checkpoint.path}", highlight=False)
    if not found:
        stdout().print("no new checkpoint is whole")
