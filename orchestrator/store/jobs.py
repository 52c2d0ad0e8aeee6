"""Jobs as they are added, changed and removed. Every function works within the transaction of its `connection`."""

from __future__ import annotations

import time
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update

from orchestrator.errors import Conflict, IdempotencyConflict, NotFound, PreconditionFailed, QueueFull, TerminalState
from orchestrator.record import Event, State
from orchestrator.store import tables
from orchestrator.store.rows import Idempotency, JobHead, JobRow, Json, NewJob, values_of
from orchestrator.store.tables import jobs

HEAD = tuple(jobs.c[field.name] for field in fields(JobHead))
# Made once: SQLAlchemy spends more time on making a statement than the database on running it.
_ADD = insert(jobs).returning(*HEAD)
_ADD_SPEC, _ADD_RECORD, _ADD_EVENTS = insert(tables.specs), insert(tables.records), insert(tables.events)
_HELD = select(*HEAD).where(jobs.c.id == bindparam("job_id")).with_for_update()
_CHANGE = update(jobs).where(jobs.c.number == bindparam("this")).returning(*HEAD)
_KEEP = update(tables.records).where(tables.records.c.job_id == bindparam("this")).values(record=bindparam("new"))


def add(
    connection: Connection, new: NewJob, idempotency: Idempotency | None, event: Event, max_queued: int | None
) -> tuple[JobRow, bool]:
    """`Store.add_job`."""
    known = _known(connection, idempotency) if idempotency else None
    if known is not None:
        return known, False
    if max_queued is not None:
        _check_room(connection, new.submitted_by, max_queued)
    head = JobHead(*connection.execute(_ADD, _values(new, event)).one())
    connection.execute(_ADD_SPEC, {"job_id": new.id, "spec": new.spec})
    connection.execute(_ADD_RECORD, {"job_id": new.id, "record": new.record})
    if new.labels:
        rows = [{"number": head.number, "key": key, "value": value} for key, value in new.labels.items()]
        connection.execute(insert(tables.job_labels), rows)
    add_events(connection, new.id, [event])
    if idempotency:
        _remember(connection, idempotency, new)
    return JobRow(**values_of(head), spec=new.spec, record=new.record), True


def get(connection: Connection, job_id: str) -> JobRow | None:
    """`Store.job`."""
    query: Select[Any] = (
        select(*HEAD, tables.specs.c.spec, tables.records.c.record)
        .join(tables.specs, tables.specs.c.job_id == jobs.c.id)
        .join(tables.records, tables.records.c.job_id == jobs.c.id)
        .where(jobs.c.id == job_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else JobRow(*row)


def held(connection: Connection, job_id: str) -> JobHead:
    """The job, which nobody else changes until the transaction's end. Raises: NotFound."""
    row = connection.execute(_HELD, {"job_id": job_id}).one_or_none()
    if row is None:
        raise NotFound(f"no job {job_id}")
    return JobHead(*row)


def change(connection: Connection, job: JobHead, **values: Any) -> JobHead:
    """Set columns of the job; its version grows."""
    new = {"this": job.number, "version": job.version + 1, **values}
    return JobHead(*connection.execute(_CHANGE, new).one())


def keep_record(connection: Connection, job_id: str, record: Json) -> None:
    """Replace the job's record."""
    connection.execute(_KEEP, {"this": job_id, "new": record})


def append(connection: Connection, job: JobHead, events: list[Event], **values: Any) -> JobHead:
    """Add events that follow the job's last one; the last of them tells its state."""
    last = events[-1]
    add_events(connection, job.id, events)
    left = next((event for event in events if event.state is not State.QUEUED and not event.state.terminal), None)
    if job.started_at is None and left is not None:
        values["started_at"] = moment(left)
    if last.state.terminal:
        values["finished_at"] = moment(last)
    return change(connection, job, state=last.state, last_seq=last.seq, **values)


def add_events(connection: Connection, job_id: str, events: list[Event]) -> None:
    """Write events as they are."""
    connection.execute(_ADD_EVENTS, [{"job_id": job_id, **dict(event)} for event in events])


def request_cancel(connection: Connection, job_id: str, version: int | None) -> JobHead:
    """`Store.request_cancel`."""
    job = held(connection, job_id)
    if job.state.terminal:
        raise TerminalState(f"job {job_id} is {job.state}: there is nothing to cancel")
    check_version(f"job {job_id}", job.version, version)
    return job if job.cancel_requested else change(connection, job, cancel_requested=True)


def remove(connection: Connection, job_id: str, version: int | None) -> JobHead:
    """`Store.delete_job`."""
    job = held(connection, job_id)
    if not job.state.terminal:
        raise Conflict(f"job {job_id} is {job.state}", hint="cancel it, and delete it when it is over")
    check_version(f"job {job_id}", job.version, version)
    connection.execute(delete(jobs).where(jobs.c.number == job.number))
    return job


def check_version(what: str, version: int, seen: int | None) -> None:
    """Raises: PreconditionFailed when the caller saw another version."""
    if seen is not None and seen != version:
        raise PreconditionFailed(f"{what} changed: version {version}, not {seen}", hint="read it again")


def moment(event: Event) -> float:
    """When it happened, in seconds since the epoch; now for an event whose time cannot be read."""
    try:
        return datetime.fromisoformat(event.time).timestamp()
    except ValueError:
        return time.time()


def _known(connection: Connection, idempotency: Idempotency) -> JobRow | None:
    keys = tables.idempotency.c
    query = select(keys.body_hash, keys.job_id).where(keys.token == idempotency.token, keys.key == idempotency.key)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.body_hash != idempotency.body_hash:
        hint = f"it made job {row.job_id}; a new submission needs a new key"
        raise IdempotencyConflict(f"the idempotency key {idempotency.key!r} was used with another body", hint=hint)
    return get(connection, row.job_id)


def _remember(connection: Connection, idempotency: Idempotency, new: NewJob) -> None:
    row = {"token": idempotency.token, "key": idempotency.key, "body_hash": idempotency.body_hash}
    connection.execute(insert(tables.idempotency).values(job_id=new.id, created_at=new.created_at, **row))


def _check_room(connection: Connection, submitter: str | None, most: int) -> None:
    same = jobs.c.submitted_by == submitter if submitter is not None else jobs.c.submitted_by.is_(None)
    beyond = select(jobs.c.number).where(same, jobs.c.state == State.QUEUED).limit(1).offset(max(most - 1, 0))
    if most <= 0 or connection.scalar(beyond) is not None:
        raise QueueFull(f"{submitter or 'nobody in particular'} has {most} jobs in the queue already", hint=_ROOM)


_ROOM = "wait until some have begun, or cancel some"


def _values(new: NewJob, event: Event) -> dict[str, Any]:
    return {
        **{name: value for name, value in values_of(new).items() if name not in ("spec", "record")},
        "labels": dict(new.labels),
        "state": event.state,
        "attempt": 0,
        "attempt_open": False,
        "cancel_requested": False,
        "version": 1,
        "last_seq": event.seq,
    }
