"""Events that the service makes itself, while no runner owns the job: to the store first, then to the job's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, Failure, JobRecord, State, now
from orchestrator.store.rows import JobHead
from orchestrator.store.store import Store


def next_event(head: JobHead, state: State, message: str, *, code: str | None = None) -> Event:
    """The job's next event: a change of its state."""
    return Event(
        seq=head.last_seq + 1,
        time=now(),
        attempt=head.attempt,
        type="state",
        state=state,
        phase=state.value,
        message=message,
        code=code,
    )


def record_after(record: dict[str, Any], head: JobHead, event: Event, failure: Failure | None = None) -> dict[str, Any]:
    """The job's record as it is after `event`."""
    told = {**record, "state": event.state.value, "attempt": head.attempt}
    if event.state.terminal:
        told["finished_at"] = event.time
    if failure:
        told["failure"] = failure.model_dump(mode="json")
    return told


def read_folder(head: JobHead) -> tuple[list[Event], dict[str, Any] | None]:
    """Events of the current attempt that the folder has and the store has not, and the record of that attempt.

    The caller owns the folder. The runner wrote an event first and the record after it: where it was killed in between,
    the event counts.
    """
    folder = JobFolder(Path(head.folder))
    folder.mend()
    events = [event for event in folder.events() if event.attempt == head.attempt]
    new = [event for event in events if event.seq > head.last_seq]
    try:
        record = folder.read()
    except FileNotFoundError:
        return new, None
    if record.attempt != head.attempt:
        return new, None
    if events and record.state is not (last := events[-1]).state:
        record.state = last.state
        record.finished_at = last.time if last.state.terminal else None
        folder.write(record)
    return new, record.model_dump(mode="json")


def mirror(head: JobHead, store: Store) -> None:
    """Bring the folder up to the store, where the service made the last events; nothing while a runner owns it."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError), JobFolder(Path(head.folder)).holding():
        mirror_held(head, store)


def mirror_held(head: JobHead, store: Store) -> None:
    """As `mirror`, for a caller that owns the folder. What an attempt wrote after it was given up is not kept."""
    folder = JobFolder(Path(head.folder))
    folder.rewrite_events(event.model_dump_json() for event in _all_events(head, store))
    if job := store.job(head.id):
        folder.write(JobRecord.model_validate(job.record))


def _all_events(head: JobHead, store: Store) -> Iterator[Event]:
    seq = 0
    while events := store.events(head.id, after=seq):
        yield from events
        seq = events[-1].seq
