"""The end of an attempt that did not end itself: what its folder still tells, what is left of it, what comes next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchers.marker import sweep
from orchestrator.assignment import TAKEN
from orchestrator.errors import Conflict, NotFound
from orchestrator.executors import Status
from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, Failure, State
from orchestrator.service.board import Active, Board
from orchestrator.service.telling import mirror, mirror_held, next_event, read_folder, record_after
from orchestrator.store.rows import AttemptRow, AttemptState, JobHead, JobRow, Json
from orchestrator.store.store import Store

FIRST_PAUSE = 1.0
"""Seconds before a job is started again after its first lost attempt; twice as many after each further one."""
LONGEST_PAUSE = 60.0
UNBEGUN = 4
"""Attempts in all, per attempt that may be lost at work: those whose process never began are not its fault."""
NEVER_BEGAN = "it never began"
SWEEP_PATIENCE = 10.0
"""Seconds that what is left of an attempt may take to end."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Closed:
    """A job after the end of its attempt, and what happened since its runner was heard last."""

    head: JobHead
    events: list[Event]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended that did not end itself."""

    state: AttemptState
    detail: str
    message: str
    code: str = "lost"


async def close_lost(board: Board, active: Active, why: str) -> None:
    """The attempt's process is gone: end it as its folder says, or put the job back into the queue.

    Nothing of it runs any more afterwards; where something cannot be ended the attempt stays open, and is tried again.
    """
    async with board.alone_with(active.head.id):
        # Looked at again: what the caller saw may have been a process that was about to be started.
        if board.active.get(active.head.id) is active and await board.executor.status(active.task) is Status.GONE:
            await _close(board, active, AttemptState.LOST, why)


async def close_refused(board: Board, active: Active, why: str) -> None:
    """The executor did not take it. The caller is alone with the job."""
    await _close(board, active, AttemptState.REFUSED, why)


async def cancel_queued(board: Board, head: JobHead) -> JobHead:
    """A job without an attempt ends. The caller is alone with it."""
    event = next_event(head, State.CANCELLED, "cancelled by request before it began", code="cancelled")
    failure = Failure(code="cancelled", message=event.message)
    job = await asyncio.to_thread(_job, board.store, head.id)
    record = record_after(job.record, head, event, failure)
    done = await asyncio.to_thread(board.store.append_event, head.id, event, record)
    board.queued.pop(head.id, None)
    await asyncio.to_thread(mirror, done, board.store)
    board.changed(done, [event])
    board.wake.set()
    return done


def pause_after(attempt: int) -> float:
    """Seconds until a job is started again after its attempt of this number; there may be thousands.

    A port that somebody else keeps is looked at once a minute for as long as it takes.
    """
    doublings = min(attempt - 1, 10)  # 2.0**1024 is no number any more
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**doublings)


async def _close(board: Board, active: Active, ended: AttemptState, why: str) -> None:
    closed = await asyncio.to_thread(_close_in_store, board.store, active, ended, why)
    if closed is None:
        return
    board.ended(closed.head.id)
    if closed.head.state is State.QUEUED:
        board.enqueue(closed.head)
    if closed.events:
        board.changed(closed.head, closed.events)


def _close_in_store(store: Store, active: Active, ended: AttemptState, why: str) -> Closed | None:
    """The whole end of it; None when it cannot be ended now."""
    try:
        with _fenced(JobFolder(Path(active.head.folder))):
            job, record, events = _ingest(store, active)
            if job.state.terminal:
                return Closed(job, events)
            if left := sweep(f"{job.id}/", patience=SWEEP_PATIENCE).survivors:
                log.error("job %s: processes %s cannot be ended", job.id, left)
                return None
            (last,) = store.events(job.id, after=job.last_seq - 1)
            event = _decide(store, job, active, _ending(record, last, ended, why), record)
            done = _job(store, job.id)
            mirror_held(done, store)
            return Closed(done, [*events, event] if event else events)
    except BlockingIOError:  # it lives after all
        return None


@contextlib.contextmanager
def _fenced(folder: JobFolder) -> Iterator[None]:
    """Own the folder; a process of this attempt that is only beginning finds nothing to do when it gets its turn.

    Raises: BlockingIOError when a living process owns it.
    """
    folder.path.mkdir(exist_ok=True)
    with folder.holding(patience=0.1):
        folder.assignment.unlink(missing_ok=True)
        yield


def _ingest(store: Store, active: Active) -> tuple[JobRow, Json | None, list[Event]]:
    """Store what the folder tells and the service has not heard: the job after it, its record, the events."""
    head, number = active.head, active.attempt.number
    events, record = read_folder(head)
    try:
        for first in range(0, len(events), 500):
            last = first + 500 >= len(events)
            store.report(head.id, number, events[first : first + 500], record if last else None)
    except (Conflict, NotFound) as over:
        log.info("job %s: attempt %d is over: %s", head.id, number, over)
    return _job(store, head.id), record, store.events(head.id, after=head.last_seq)


def _decide(store: Store, job: JobRow, active: Active, ending: Ending, record: Json | None) -> Event | None:
    """Try again, or end the job; the event that says so, None when somebody else closed the attempt."""
    earlier = [one for one in store.attempts(job.id) if one.number < job.attempt]
    event, failure = _verdict(job, earlier, ending)
    try:
        store.close_attempt(
            job.id,
            active.attempt.number,
            ending.state,
            ending.detail,
            event,
            not_before=None if event.state.terminal else time.time() + pause_after(job.attempt),
            record=record_after(record or job.record, job, event, failure),
        )
    except (Conflict, NotFound) as over:
        log.info("job %s: attempt %d is over: %s", job.id, active.attempt.number, over)
        return None
    log.warning("job %s: attempt %d is %s: %s", job.id, active.attempt.number, ending.state, event.message)
    return event


def _ending(record: Json | None, last: Event, ended: AttemptState, why: str) -> Ending:
    """What became of an attempt, as its folder tells: whether it began, was at work, or came too late."""
    if record is None:
        return Ending(ended, NEVER_BEGAN, f"the attempt never began: {why}")
    if last.code in TAKEN and last.attempt == record["attempt"]:
        return Ending(AttemptState.REFUSED, last.message, last.message, last.code)
    return Ending(ended, why, f"the attempt was lost: {why}")


def _verdict(job: JobRow, attempts: Sequence[AttemptRow], ending: Ending) -> tuple[Event, Failure | None]:
    """Cancelled, tried too often, or once more. `attempts` are those before this one."""
    if job.cancel_requested:
        message = f"cancelled by request; {ending.message}"
        return next_event(job, State.CANCELLED, message, code="cancelled"), Failure(code="cancelled", message=message)
    ends = [(one.state, one.detail) for one in attempts] + [(ending.state, ending.detail)]
    unbegun = sum(detail == NEVER_BEGAN for _, detail in ends)
    lost = sum(state is AttemptState.LOST and detail != NEVER_BEGAN for state, detail in ends)
    if lost >= job.attempts_max or unbegun + lost >= UNBEGUN * job.attempts_max:
        message = f"{ending.message}; {lost} of at most {job.attempts_max} attempts were lost at work, {unbegun} before"
        hint = "see what kills processes on this machine, then retry it: its answers are kept"
        return next_event(job, State.FAILED, message, code="lost"), Failure(code="lost", message=message, hint=hint)
    return next_event(job, State.QUEUED, f"{ending.message}; the job is tried again", code=ending.code), None


def _job(store: Store, job_id: str) -> JobRow:
    job = store.job(job_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job
