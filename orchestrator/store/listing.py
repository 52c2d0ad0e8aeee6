"""Reads over many jobs. None of them touches the documents but `records`, which is asked for a page at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from orchestrator.record import Event, State
from orchestrator.store import tables
from orchestrator.store.jobs import HEAD
from orchestrator.store.rows import AttemptRow, JobFilter, JobHead, Json
from orchestrator.store.tables import jobs

ATTEMPT = tuple(tables.attempts.c[field.name] for field in fields(AttemptRow))
_EVENT = tuple(tables.events.c[name] for name in Event.model_fields)
_LAST = 2**63 - 1  # larger than any number


def page(connection: Connection, wanted: JobFilter) -> list[JobHead]:
    """`Store.jobs`."""
    query, number = _labelled(select(*HEAD), wanted)
    if wanted.state is not None:
        query = query.where(jobs.c.state == wanted.state)
    if wanted.engine is not None:
        query = query.where(jobs.c.engine == wanted.engine)
    if wanted.before is not None:
        query = query.where(number < min(max(wanted.before, 0), _LAST))
    query = query.order_by(number.desc()).limit(max(wanted.limit, 0))
    return [JobHead(*row) for row in connection.execute(query)]


def records(connection: Connection, job_ids: Iterable[str]) -> dict[str, Json]:
    """`Store.records`."""
    query = select(tables.records).where(tables.records.c.job_id.in_(list(job_ids)))
    return {row.job_id: row.record for row in connection.execute(query)}


def queued(connection: Connection) -> list[JobHead]:
    """`Store.queued`."""
    query = select(*HEAD).where(jobs.c.state == State.QUEUED, jobs.c.attempt_open.is_(False))
    return [JobHead(*row) for row in connection.execute(query.order_by(jobs.c.priority.desc(), jobs.c.number))]


def active(connection: Connection) -> list[tuple[JobHead, AttemptRow]]:
    """`Store.active`."""
    current = and_(tables.attempts.c.job_id == jobs.c.id, tables.attempts.c.number == jobs.c.attempt)
    query = select(*HEAD, *ATTEMPT).join(tables.attempts, current).where(jobs.c.attempt_open.is_(True))
    rows = connection.execute(query.order_by(jobs.c.number))
    return [(JobHead(*row[: len(HEAD)]), AttemptRow(*row[len(HEAD) :])) for row in rows]


def counts(connection: Connection) -> dict[State, int]:
    """`Store.counts`."""
    query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def events(connection: Connection, job_id: str, after: int, limit: int) -> list[Event]:
    """`Store.events`."""
    query = select(*_EVENT).where(tables.events.c.job_id == job_id, tables.events.c.seq > after)
    rows = connection.execute(query.order_by(tables.events.c.seq).limit(limit))
    return [Event(**row._mapping) for row in rows]


def _labelled(query: Select[Any], wanted: JobFilter) -> tuple[Select[Any], ColumnElement[int]]:
    """Go along the index of the first label, which is in the order of the jobs' numbers; then along the jobs."""
    number: ColumnElement[int] = jobs.c.number
    for key, value in wanted.labels.items():
        label = tables.job_labels.alias()
        same = and_(label.c.number == jobs.c.number, label.c.key == key, label.c.value == value)
        query = query.join(label, same)
        number = label.c.number if number is jobs.c.number else number
    return query, number
