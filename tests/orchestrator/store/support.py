"""Jobs and events for the store, and what must hold in any store at any time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.record import Event, State
from orchestrator.store import Store
from orchestrator.store.rows import AttemptState, JobFilter, JobRow, NewJob

_IDS = itertools.count(1)
ENDS = (State.SUCCEEDED, State.INCOMPLETE, State.FAILED, State.CANCELLED)
PHASES = (State.ALLOCATING, State.STARTING, State.PROBING, State.EVALUATING, State.STOPPING, State.SUCCEEDED)


def event(seq: int, state: State = State.QUEUED, attempt: int = 0, at: float = 1_000_000.0, **rest: Any) -> Event:
    stamp = datetime.fromtimestamp(at + seq, UTC).isoformat(timespec="milliseconds")
    same = {"type": "state", "phase": state.value, "message": f"{state.value} it is", **rest}
    return Event(seq=seq, time=stamp, attempt=attempt, state=state, **same)


def run(first: int, states: Sequence[State] = PHASES, attempt: int = 1) -> list[Event]:
    """One event per state, the first with `seq` = `first`."""
    return [event(seq, state, attempt) for seq, state in enumerate(states, first)]


def new_job(job_id: str | None = None, **changes: Any) -> NewJob:
    job_id = job_id or f"job-{next(_IDS)}"
    same: dict[str, Any] = {
        "name": f"name of {job_id}",
        "engine": "vllm",
        "spec": {"serve": {"model": "m"}},
        "record": {"last": 1},
        "folder": f"jobs/{job_id}",
        "created_at": 1_000_000.0,
    }
    return NewJob(id=job_id, **{**same, **changes})


def add(store: Store, job_id: str | None = None, **changes: Any) -> JobRow:
    job, created = store.add_job(new_job(job_id, **changes), None, event(1))
    assert created
    return job


def begin(store: Store, job_id: str, gpus: Sequence[int] = ()) -> int:
    """Number of a new attempt."""
    job = store.job(job_id)
    assert job is not None
    return store.begin_attempt(job_id, f"{job_id}.{job.attempt + 1}", "local", "hash", gpus).number


def finish(store: Store, job_id: str, end: State = State.SUCCEEDED, at: float = 1_000_000.0) -> None:
    """Run a queued job to its end."""
    attempt = begin(store, job_id)
    job = store.job(job_id)
    assert job is not None
    events = [event(job.last_seq + 1, State.STARTING, attempt, at), event(job.last_seq + 2, end, attempt, at)]
    store.report(job_id, attempt, events, {"state": end.value, "last": events[-1].seq})


def check(store: Store) -> int:
    """Assert what must hold whatever happened; how many jobs there are."""
    jobs = store.jobs(JobFilter(limit=100_000))
    leased: dict[str, set[int]] = {}
    for (kind, number), holder in store.leases().items():
        assert kind == "gpu"
        leased.setdefault(holder, set()).add(number)
    for head in jobs:
        job = store.job(head.id)
        assert job is not None
        _check_job(store, job, leased.pop(head.id, set()))
    assert not leased, "leases without a job"
    waiting, running = {job.id for job in store.queued()}, {job.id for job, _ in store.active()}
    assert not waiting & running
    assert waiting | running == {job.id for job in jobs if not job.state.terminal}, "a job that nobody looks after"
    assert sum(store.counts().values()) == len(jobs)
    return len(jobs)


def _check_job(store: Store, job: JobRow, gpus: set[int]) -> None:
    events = store.events(job.id)
    assert [one.seq for one in events] == list(range(1, job.last_seq + 1))
    assert events[-1].state is job.state
    assert job.record["last"] == job.last_seq, "the record is of another moment than the events"
    assert job.state.terminal == (job.finished_at is not None)
    attempts = store.attempts(job.id)
    assert [one.number for one in attempts] == list(range(1, job.attempt + 1))
    assert all(one.state.over == (one.ended_at is not None) for one in attempts)
    assert all(one.state.over for one in attempts[:-1])
    assert job.attempt_open == any(not one.state.over for one in attempts)
    assert gpus == (set(attempts[-1].gpus) if job.attempt_open else set())
    assert not any(one.state is AttemptState.ENDED for one in attempts) or job.state.terminal
