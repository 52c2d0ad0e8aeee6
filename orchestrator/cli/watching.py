"""A job of the service as `run` shows one of its own."""

from __future__ import annotations

from clients.service import Job, ServiceClient
from orchestrator.cli.output import print_failure, stderr, stdout
from orchestrator.cli.tables import summary
from orchestrator.cli.view import LiveView
from orchestrator.record import Event, JobRecord, Progress, State

LOOK = 1.0
"""Seconds between two looks at the progress, which is no event."""


def watched(client: ServiceClient, job: str) -> Job:
    """Follow a job from its first event; the job once it is over. Raises: ServiceError."""
    seen, over = 0, False
    with LiveView(stderr()) as view:
        while True:
            for event in client.events(job, after=seen, timeout=LOOK):
                seen, over = event.seq, event.state.terminal
                view.event(Event.model_validate(event.model_dump()))
            found = client.job(job)
            if over:
                return found
            if found.state.value == State.EVALUATING.value:
                view.progress(Progress.model_validate(found.progress.model_dump()))


def finished(job: Job) -> None:
    """The table of a job that is over, and why it did not succeed."""
    record = JobRecord.model_validate(job.model_dump(mode="json"))
    stdout().print(summary(record))
    if record.failure:
        print_failure(record.failure)
