"""Attempts as they begin and live. Every write names the attempt that it is of; one of another attempt is refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from orchestrator.errors import Conflict, NotFound, StaleAttempt
from orchestrator.record import State
from orchestrator.store import jobs, leases, tables
from orchestrator.store.listing import ATTEMPT
from orchestrator.store.rows import AttemptRow, AttemptState, JobHead, values_of

_OPEN = (AttemptState.INTENDED, AttemptState.SUBMITTED, AttemptState.RUNNING)  # in this order, never backwards
_attempts = tables.attempts
_THIS = (_attempts.c.job_id == bindparam("of"), _attempts.c.number == bindparam("this"))
_GET = select(*ATTEMPT).where(*_THIS)
_SET = update(_attempts).where(*_THIS)
_BEAT = _SET.where(_attempts.c.ended_at.is_(None))


def begin(
    connection: Connection,
    job_id: str,
    key: str,
    executor: str,
    token_hash: str,
    gpus: Sequence[int],
    deployment_id: str | None,
) -> AttemptRow:
    """`Store.begin_attempt`."""
    job = jobs.held(connection, job_id)
    if job.state is not State.QUEUED or job.attempt_open or job.cancel_requested:
        why = "to be cancelled" if job.cancel_requested else f"{job.state}, attempt {job.attempt}"
        raise Conflict(f"job {job_id} cannot begin an attempt: it is {why}")
    row = AttemptRow(
        job_id=job_id,
        number=job.attempt + 1,
        key=key,
        executor=executor,
        token_hash=token_hash,
        state=AttemptState.INTENDED,
        gpus=tuple(gpus),
        created_at=time.time(),
        heartbeat_at=None,
        ended_at=None,
        detail="",
    )
    connection.execute(insert(_attempts).values(**values_of(row)))
    leases.take(connection, job_id, "gpu", gpus, row.number)
    jobs.change(connection, job, attempt=row.number, attempt_open=True, deployment_id=deployment_id)
    return row


def get(connection: Connection, job_id: str, number: int) -> AttemptRow | None:
    """`Store.attempt`."""
    row = connection.execute(_GET, {"of": job_id, "this": number}).one_or_none()
    return None if row is None else AttemptRow(*row)


def of_job(connection: Connection, job_id: str) -> list[AttemptRow]:
    """`Store.attempts`."""
    query = select(*ATTEMPT).where(_attempts.c.job_id == job_id).order_by(_attempts.c.number)
    return [AttemptRow(*row) for row in connection.execute(query)]


def mark(connection: Connection, job_id: str, attempt: int, state: AttemptState, detail: str) -> None:
    """`Store.mark_attempt`."""
    if state.over:
        raise ValueError(f"{state} is the end of an attempt: the job's next event goes with it, see close_attempt")
    opened(connection, job_id, attempt)
    earlier = _OPEN[: _OPEN.index(state) + 1]
    query = _SET.where(_attempts.c.state.in_(earlier))
    connection.execute(query, {"of": job_id, "this": attempt, "state": state, "detail": detail})


def heartbeat(connection: Connection, job_id: str, attempt: int, at: float) -> None:
    """`Store.heartbeat`."""
    opened(connection, job_id, attempt)
    heartbeats(connection, {(job_id, attempt): at})


def heartbeats(connection: Connection, beats: Mapping[tuple[str, int], float]) -> None:
    """`Store.heartbeats`."""
    rows = [{"of": job_id, "this": attempt, "heartbeat_at": at} for (job_id, attempt), at in beats.items()]
    if rows:
        connection.execute(_BEAT, rows)


def write(connection: Connection, job_id: str, attempt: int, **values: Any) -> None:
    """Set columns of an attempt."""
    connection.execute(_SET, {"of": job_id, "this": attempt, **values})


def opened(connection: Connection, job_id: str, attempt: int) -> JobHead:
    """The job, if this attempt is its current one and not over. Raises: StaleAttempt."""
    job = current(connection, job_id, attempt)
    if not job.attempt_open:
        raise StaleAttempt(f"attempt {attempt} of job {job_id} is over")
    return job


def current(connection: Connection, job_id: str, attempt: int) -> JobHead:
    """The job, if this attempt is its newest one. Raises: StaleAttempt."""
    try:
        job = jobs.held(connection, job_id)
    except NotFound as error:
        raise StaleAttempt(f"job {job_id} is gone") from error
    if job.attempt != attempt:
        raise StaleAttempt(f"job {job_id} is at attempt {job.attempt}, not {attempt}")
    return job
