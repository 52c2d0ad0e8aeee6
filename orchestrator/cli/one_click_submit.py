"""`submit eval_x.py -a ENGINE`: the models of an OpenCompass config as jobs of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from rich.markup import escape

from clients.service import Job, ServiceClient, ServiceError
from orchestrator.cli.one_click import Asked, taken_over
from orchestrator.cli.one_click_view import as_document, show_plans, table, tell_notes, worst
from orchestrator.cli.output import EXIT_OF_STATE, Exit, print_json, stderr, stdout
from orchestrator.cli.watching import finished, watched
from orchestrator.errors import BadSpec, FieldError
from orchestrator.one_click.reading import WholeConfig
from orchestrator.one_click.taking_over import OneClickJob, TakenOver
from orchestrator.policy import is_loopback
from orchestrator.record import JobRecord
from orchestrator.sending import located
from orchestrator.settings import Settings


def submit_config(
    file: Path, asked: Asked, client: ServiceClient, key: str | None, *, watch: bool, as_json: bool, dry_run: bool
) -> None:
    """Queue a job per model and print the ids; with `watch` follow them in turn, with the worst one's exit code.

    The config is read here, the data sets by the service when a job begins.
    Raises: BadSpec also for a service on another machine, which does not see the file; EvaluatorMissing.
    """
    _require_same_machine(file, client)
    config, taken = taken_over(file, asked, Settings.load())
    if dry_run:
        show_plans(taken, (lambda job: client.plan(_sent(job, config, client)),), as_json=as_json)
    jobs = _queued(config, taken, client, key)
    if watch:
        _to_their_ends(jobs, taken, client, as_json=as_json)
    if as_json:
        print_json(as_document([job.model_dump(mode="json") for job in jobs], taken))
        return
    for job in jobs:
        stdout().print(job.id, highlight=False)
        stderr().print(f"{escape(job.name)} is {job.state}; orchestrator watch {job.id}")
        tell_notes(job.notes)


def _require_same_machine(file: Path, client: ServiceClient) -> None:
    if not is_loopback(urlsplit(client.url).hostname or ""):
        message = (
            f"the service at {client.url} is on another machine, which sees neither this file nor what it imports; "
            f"`orchestrator run {file.name} -a ENGINE --dry-run` prints the job specs: put the config into a folder "
            "that the service may read (its policy `files`), name it there in `datasets`, and submit the specs"
        )
        raise BadSpec([FieldError("", message)], source=str(file))


def _queued(config: WholeConfig, taken: TakenOver, client: ServiceClient, key: str | None) -> list[Job]:
    """All of them; when one is refused, the ids of those before it are told."""
    jobs: list[Job] = []
    for place, job in enumerate(taken.jobs, 1):
        own = f"{key}-{place}" if key and len(taken.jobs) > 1 else key
        try:
            jobs.append(client.submit(_sent(job, config, client), idempotency_key=own))
        except ServiceError:
            if jobs:
                stderr().print(f"queued before {escape(job.spec.name or job.abbr)}: {' '.join(one.id for one in jobs)}")
            raise
    return jobs


def _sent(job: OneClickJob, config: WholeConfig, client: ServiceClient) -> dict[str, Any]:
    return located(job.spec.model_dump(mode="json", exclude_unset=True), config.file.parent, client.url)


def _to_their_ends(jobs: list[Job], taken: TakenOver, client: ServiceClient, *, as_json: bool) -> NoReturn:
    ended: list[Job] = []
    for job in jobs:
        stderr().print(f"job {job.id}: {escape(job.name)}")
        tell_notes(job.notes)
        try:
            ended.append(watched(client, job.id))
        except KeyboardInterrupt:
            left = " ".join(one.id for one in jobs[len(ended) :])
            stderr().print(f"these go on: {left}; orchestrator cancel JOB ends one")
            raise SystemExit(Exit.INTERRUPTED) from None
        if not as_json:
            finished(ended[-1])
    documents = [job.model_dump(mode="json") for job in ended]
    records = [JobRecord.model_validate(document) for document in documents]
    if as_json:
        print_json(as_document(documents, taken))
    elif len(records) > 1:
        stdout().print(table(records, taken))
    raise SystemExit(worst({EXIT_OF_STATE[record.state] for record in records}))
