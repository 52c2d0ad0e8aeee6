"""What goes when it is old enough, or when there is more than enough of it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select

from orchestrator.store.jobs import HEAD
from orchestrator.store.rows import JobHead, RetentionPolicy
from orchestrator.store.tables import audit, idempotency, jobs


def expired(connection: Connection, policy: RetentionPolicy, now: float, limit: int) -> list[JobHead]:
    """`Store.expired`."""
    reasons = _reasons(connection, policy, now)
    if not reasons:
        return []
    query = select(*HEAD).where(jobs.c.finished_at.is_not(None), or_(*reasons))
    rows = connection.execute(query.order_by(jobs.c.finished_at, jobs.c.number).limit(limit))
    return [JobHead(*row) for row in rows]


def prune(connection: Connection, policy: RetentionPolicy, now: float, limit: int) -> list[JobHead]:
    """`Store.prune`."""
    gone = expired(connection, policy, now, limit)
    connection.execute(delete(jobs).where(jobs.c.number.in_([job.number for job in gone])))
    if policy.audit_age is not None:
        connection.execute(delete(audit).where(audit.c.time < now - policy.audit_age))
    if policy.idempotency_age is not None:
        connection.execute(delete(idempotency).where(idempotency.c.created_at < now - policy.idempotency_age))
    return gone


def _reasons(connection: Connection, policy: RetentionPolicy, now: float) -> Sequence[ColumnElement[bool]]:
    old = [] if policy.max_age is None else [jobs.c.finished_at < now - policy.max_age]
    if policy.max_jobs is None:
        return old
    # The newest of the jobs that are too many: it and all that ended before it go.
    last = select(jobs.c.finished_at, jobs.c.number).where(jobs.c.finished_at.is_not(None))
    last = last.order_by(jobs.c.finished_at.desc(), jobs.c.number.desc()).offset(policy.max_jobs).limit(1)
    row = connection.execute(last).one_or_none()
    if row is None:
        return old
    same = and_(jobs.c.finished_at == row.finished_at, jobs.c.number <= row.number)
    return [*old, or_(jobs.c.finished_at < row.finished_at, same)]
