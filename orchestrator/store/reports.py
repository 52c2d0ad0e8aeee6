"""What changes a job after it was queued: its runner's reports, and the service's own events.

A job that is not over is either in the queue or has an open attempt: no transaction here ends in anything else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from orchestrator.errors import Conflict, StaleAttempt, TerminalState
from orchestrator.record import Event, State
from orchestrator.store import attempts, jobs, leases
from orchestrator.store.rows import AttemptRow, AttemptState, JobHead, Json, Reported


def report(
    connection: Connection, job_id: str, attempt: int, events: Sequence[Event], record: Json | None, at: float
) -> Reported:
    """`Store.report`."""
    job, row = _reporting(connection, job_id, attempt)
    fresh = _following(job, events)
    if fresh is None:
        _beat(connection, row, row.state, at)
        return _answer(job, 0)
    if fresh:
        _check_end(job, fresh)
        over = fresh[-1].state.terminal
        job = jobs.append(connection, job, fresh, **({"attempt_open": False} if over else {}))
        if over:
            leases.release(connection, job_id)
    if record is not None and _fits(job, record):
        jobs.keep_record(connection, job_id, record)
        job = job if fresh else jobs.change(connection, job)
    _beat(connection, row, AttemptState.ENDED if job.state.terminal else AttemptState.RUNNING, at)
    return _answer(job, len(fresh))


def append_event(connection: Connection, job_id: str, event: Event, record: Json | None) -> JobHead:
    """`Store.append_event`."""
    job = jobs.held(connection, job_id)
    if event.seq <= job.last_seq:
        return job
    if job.attempt_open:
        raise Conflict(f"job {job_id} has an open attempt: its events are those of attempt {job.attempt}")
    _check_end(job, [event])
    return _service_event(connection, job, event, record)


def close(
    connection: Connection,
    job_id: str,
    attempt: int,
    ended: AttemptState,
    detail: str,
    event: Event,
    not_before: float | None,
    record: Json | None,
) -> JobHead:
    """`Store.close_attempt`."""
    if not ended.over:
        raise ValueError(f"{ended} is not the end of an attempt")
    job = attempts.opened(connection, job_id, attempt)
    attempts.write(connection, job_id, attempt, state=ended, ended_at=time.time(), detail=detail)
    leases.release(connection, job_id)
    values = {"attempt_open": False, **({} if not_before is None else {"not_before": not_before})}
    return _service_event(connection, job, event, record, **values)


def _reporting(connection: Connection, job_id: str, attempt: int) -> tuple[JobHead, AttemptRow]:
    """Job and attempt, if the attempt may still report: it is open, or ended by its own last report."""
    job = attempts.current(connection, job_id, attempt)
    row = attempts.get(connection, job_id, attempt)
    ended_itself = job.state.terminal and row is not None and row.state is AttemptState.ENDED
    if row is None or not (job.attempt_open or ended_itself):
        raise StaleAttempt(f"attempt {attempt} of job {job_id} was given up")
    return job, row


def _following(job: JobHead, events: Sequence[Event]) -> list[Event] | None:
    """The events that are new; None when one between the last one held and the last one sent is missing."""
    fresh = [event for event in events if event.seq > job.last_seq]
    expected = range(job.last_seq + 1, job.last_seq + 1 + len(fresh))
    return fresh if [event.seq for event in fresh] == list(expected) else None


def _check_end(job: JobHead, fresh: Sequence[Event]) -> None:
    """Raises: TerminalState when something would follow the end."""
    if job.state.terminal or any(event.state.terminal for event in fresh[:-1]):
        raise TerminalState(f"job {job.id} is over: no event follows its last one")


def _fits(job: JobHead, record: Json) -> bool:
    return not job.state.terminal or record.get("state") == job.state.value


def _service_event(
    connection: Connection, job: JobHead, event: Event, record: Json | None, **values: object
) -> JobHead:
    """An event after which no attempt is open: the job waits or is over, anything else would forget it."""
    if event.state is not State.QUEUED and not event.state.terminal:
        raise ValueError(f"job {job.id} would be {event.state} with nobody to run it")
    if event.seq != job.last_seq + 1:
        raise Conflict(f"job {job.id} is at event {job.last_seq}: {event.seq} is not the next one")
    if record is not None:
        jobs.keep_record(connection, job.id, record)
    return jobs.append(connection, job, [event], **values)


def _beat(connection: Connection, row: AttemptRow, state: AttemptState, at: float) -> None:
    over = {"ended_at": at} if state.over and not row.state.over else {}
    attempts.write(connection, row.job_id, row.number, state=state, heartbeat_at=at, **over)


def _answer(job: JobHead, added: int) -> Reported:
    return Reported(job.last_seq + 1, added, job.state, job.version, job.cancel_requested)
