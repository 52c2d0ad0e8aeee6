"""What runners report: into the store, then to whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from orchestrator.errors import LeaseTaken, NotFound, NotReady, OrchestratorError, StaleAttempt, TerminalState
from orchestrator.record import Event
from orchestrator.service.board import Active, Board
from orchestrator.store.rows import JobHead, Reported
from orchestrator.store.tokens import matches

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to a report."""

    next_seq: int
    """`seq` of the first event that the service wants next."""
    order: Literal["go_on", "cancel"]


async def take(
    board: Board, job_id: str, number: int, token: str, events: Sequence[Event], record: dict[str, Any] | None
) -> Report:
    """Store a report of an attempt's runner.

    Raises: NotFound when there is no such attempt, or the token is not its; StaleAttempt when it is over; NotReady.
    """
    active = board.active.get(job_id)
    if active is None or active.attempt.number != number:
        raise await _refusal(board, job_id, number, token)
    if not matches(token, active.attempt.token_hash):
        raise NotFound(f"no attempt {number} of job {job_id}")
    active.heard = time.time()
    if not events and (record is None or record == active.record):
        return _answer(active.head, active.head.last_seq + 1)
    async with board.alone_with(job_id):
        try:
            reported = await asyncio.to_thread(board.store.report, job_id, number, events, record)
        except TerminalState as over:
            raise StaleAttempt(over.message) from over
        await _heed(board, active, events, record, reported)
    return _answer(active.head, reported.next_seq)


async def _refusal(board: Board, job_id: str, number: int, token: str) -> OrchestratorError:
    """Only who has the token of an attempt that is over is told so: another service's runner is not to stop."""
    attempt = await asyncio.to_thread(board.store.attempt, job_id, number)
    if attempt is None or not matches(token, attempt.token_hash):
        return NotFound(f"no attempt {number} of job {job_id}")
    if attempt.state.over:
        return StaleAttempt(f"attempt {number} of job {job_id} is over")
    return NotReady(f"attempt {number} of job {job_id} is not known yet")


async def _heed(
    board: Board, active: Active, events: Sequence[Event], record: dict[str, Any] | None, reported: Reported
) -> None:
    """What follows from a report that is stored."""
    before = active.head
    active.head = replace(
        before,
        state=reported.state,
        version=reported.version,
        last_seq=reported.next_seq - 1,
        cancel_requested=reported.cancel_requested,
    )
    new = [event for event in events if before.last_seq < event.seq < reported.next_seq]
    if record is not None:
        if not reported.state.terminal:
            await _lease_ports(board, active, record)
        active.record = record
    for event in new:
        if released := event.data.get("released_gpus"):
            await asyncio.to_thread(board.store.release, active.head.id, "gpu", released, attempt=before.attempt)
            board.gave_back(active)
    if reported.state.terminal:
        job = await asyncio.to_thread(board.store.job, active.head.id)
        active.head = job or active.head
        board.ended(active.head.id)
    if new:
        board.changed(active.head, new)


async def _lease_ports(board: Board, active: Active, record: dict[str, Any]) -> None:
    """Ports are leased by runners, by locks; here they are noted, for people and as a second check."""
    if record.get("resources") == active.record.get("resources"):
        return
    resources = record.get("resources") or {}
    replicas = resources.get("replicas") or []
    ports = [resources.get("gateway_port"), *(one.get(key) for one in replicas for key in ("port", "nccl_port"))]
    try:
        numbers = sorted({port for port in ports if isinstance(port, int)})
        await asyncio.to_thread(board.store.lease, active.head.id, "port", numbers, active.attempt.number)
    except LeaseTaken as taken:
        log.error("job %s uses a port that another holds: %s", active.head.id, taken)


def _answer(head: JobHead, next_seq: int) -> Report:
    return Report(next_seq, "cancel" if head.cancel_requested else "go_on")
