"""What the service before this one left: reconciled before any work is accepted."""

from __future__ import annotations

import asyncio
import logging
import time

from orchestrator.executors import Status
from orchestrator.service.board import Active, Board, Deployed
from orchestrator.service.closing import cancel_queued, close_lost
from orchestrator.service.deploying import look_after
from orchestrator.service.guarding import unharmed
from orchestrator.service.tasks import attempt_task, owner_task

log = logging.getLogger(__name__)


async def load(board: Board) -> None:
    """Know again what is open, from the store."""
    store = board.store
    for row in await asyncio.to_thread(store.deployments.all, living=True):
        board.deployed[row.id] = Deployed(row, owner_task(row))
    for head, attempt in await asyncio.to_thread(store.active):
        moment = time.time()
        task = attempt_task(head, attempt)
        board.active[head.id] = Active(head, attempt, task, set(attempt.gpus), heard=moment, began=attempt.created_at)
        if deployed := board.deployed.get(head.deployment_id or ""):
            deployed.users.add(head.id)
    for head in await asyncio.to_thread(store.queued):
        board.enqueue(head)


async def reconcile(board: Board) -> None:
    """Close what died meanwhile, and free what the dead held."""
    await _settle(board)
    await _free_the_dead(board)


async def _settle(board: Board) -> None:
    """Whoever runs is adopted by being known; the others are closed now."""
    for deployed in list(board.deployed.values()):
        await unharmed(f"deployment {deployed.row.name}", look_after(board, deployed))
    for active in list(board.active.values()):
        status = await board.executor.status(active.task)
        if status is Status.GONE:
            lost = close_lost(board, active, "the process that ran it is gone")
            await unharmed(f"job {active.head.id}", lost)
        else:
            log.info("job %s: attempt %d runs on", active.head.id, active.attempt.number)
    for queued in list(board.queued.values()):
        if queued.head.cancel_requested:
            async with board.alone_with(queued.head.id):
                await cancel_queued(board, queued.head)


async def _free_the_dead(board: Board) -> None:
    """Leases of holders that are over; GPUs that an attempt gave back are not its own any more."""
    held: dict[str, set[int]] = {}
    for (kind, number), holder in (await asyncio.to_thread(board.store.leases)).items():
        if holder not in board.active and holder not in board.deployed:
            await asyncio.to_thread(board.store.release, holder)
        elif kind == "gpu":
            held.setdefault(holder, set()).add(number)
    for job, active in board.active.items():
        active.gpus &= held.get(job, set())
