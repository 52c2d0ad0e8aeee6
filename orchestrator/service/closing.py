"""The end of an attempt that did not end itself: what its folder still tells, what is left of it, what comes next."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from launchers.marker import SweepReport, sweep
from orchestrator.errors import Conflict, NotFound, StaleAttempt
from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, Failure, State
from orchestrator.service.board import Active, Board
from orchestrator.service.telling import mirror, next_event, read_folder, record_after
from orchestrator.store.rows import AttemptState, JobHead, Json

FIRST_PAUSE = 1.0
"""Seconds before a job is started again after its first lost attempt; twice as many after each further one."""
LONGEST_PAUSE = 60.0
UNBEGUN = 4
"""Attempts in all, per attempt that may be lost at work: those whose process never began are not its fault."""
NEVER_BEGAN = "it never began"
SWEEP_PATIENCE = 10.0
"""Seconds that what is left of an attempt may take to end."""

log = logging.getLogger(__name__)


async def close_lost(board: Board, active: Active, why: str) -> None:
    """The attempt's process is gone: end it as its folder says, or put the job back into the queue.

    Nothing of it runs any more afterwards; where something cannot be ended the attempt stays open, and is tried again.
    """
    async with board.alone_with(active.head.id):
        if board.active.get(active.head.id) is not active:
            return
        head, record, events = await asyncio.to_thread(_ingest, board, active)
        if events:
            board.changed(head, events)
        if head.state.terminal:
            _leave(board, head)
            return
        swept = await asyncio.to_thread(_sweep, head)
        if swept.survivors:
            log.error("job %s: processes %s cannot be ended", head.id, swept.survivors)
            return
        await _close(board, active, head, record, AttemptState.LOST, why)


async def close_refused(board: Board, active: Active, why: str) -> None:
    """The executor did not take it. The caller is alone with the job."""
    await _close(board, active, active.head, None, AttemptState.REFUSED, why)


async def cancel_queued(board: Board, head: JobHead) -> JobHead:
    """A job without an attempt ends. The caller is alone with it."""
    event = next_event(head, State.CANCELLED, "cancelled by request before it began", code="cancelled")
    record = await asyncio.to_thread(_record_of, board, head)
    failure = Failure(code="cancelled", message="cancelled by request before it began")
    done = await asyncio.to_thread(board.store.append_event, head.id, event, record_after(record, head, event, failure))
    board.queued.pop(head.id, None)
    await asyncio.to_thread(mirror, done, board.store)
    board.changed(done, [event])
    board.wake.set()
    return done


async def _close(
    board: Board, active: Active, head: JobHead, record: Json | None, ended: AttemptState, why: str
) -> None:
    lost = await asyncio.to_thread(_lost_before, board, head) + (record is not None)
    event, failure = _verdict(head, lost, began=record is not None, why=why)
    before = record if record is not None else await asyncio.to_thread(_record_of, board, head)
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (head.attempt - 1))
    try:
        done = await asyncio.to_thread(
            board.store.close_attempt,
            head.id,
            active.attempt.number,
            ended,
            why if record else NEVER_BEGAN,
            event,
            not_before=None if event.state.terminal else time.time() + pause,
            record=record_after(before, head, event, failure),
        )
    except (StaleAttempt, NotFound):  # it ended while we looked
        _leave(board, head)
        return
    await asyncio.to_thread(mirror, done, board.store)
    _leave(board, done)
    board.changed(done, [event])


def _verdict(head: JobHead, lost: int, *, began: bool, why: str) -> tuple[Event, Failure | None]:
    if head.cancel_requested:
        message = f"cancelled by request; {why}"
        return next_event(head, State.CANCELLED, message, code="cancelled"), Failure(code="cancelled", message=message)
    if lost >= head.attempts_max or head.attempt >= UNBEGUN * head.attempts_max:
        message = f"{why}; attempt {head.attempt}, {lost} of at most {head.attempts_max} were lost at work"
        hint = "see what kills processes on this machine, then retry it: its answers are kept"
        return next_event(head, State.FAILED, message, code="lost"), Failure(code="lost", message=message, hint=hint)
    what = "the attempt was lost" if began else "the attempt never began"
    return next_event(head, State.QUEUED, f"{what}: {why}; the job is tried again", code="lost"), None


def _ingest(board: Board, active: Active) -> tuple[JobHead, Json | None, list[Event]]:
    """Store what the folder tells and the service has not heard: the job after it, its record, the events."""
    number, store = active.attempt.number, board.store
    events, record = read_folder(active.head)
    try:
        for first in range(0, len(events), 500):
            part = events[first : first + 500]
            store.report(active.head.id, number, part, record if first + 500 >= len(events) else None)
    except (Conflict, NotFound) as over:
        log.info("job %s: attempt %d is over: %s", active.head.id, number, over)
    job = store.job(active.head.id)
    if job is None:
        raise NotFound(f"no job {active.head.id}")
    return job, record, store.events(job.id, after=active.head.last_seq)


def _sweep(head: JobHead) -> SweepReport:
    return sweep(f"{head.id}/", patience=SWEEP_PATIENCE)


def _lost_before(board: Board, head: JobHead) -> int:
    """Earlier attempts that began and were lost."""
    earlier = board.store.attempts(head.id)
    return sum(one.state is AttemptState.LOST and one.detail != NEVER_BEGAN for one in earlier)


def _record_of(board: Board, head: JobHead) -> Json:
    job = board.store.job(head.id)
    return job.record if job else JobFolder(Path(head.folder)).read().model_dump(mode="json")


def _leave(board: Board, head: JobHead) -> None:
    """The attempt is over: the job waits again, or is done."""
    board.ended(head.id)
    if head.state is State.QUEUED:
        board.enqueue(head)
