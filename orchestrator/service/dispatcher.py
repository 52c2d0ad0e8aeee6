"""Starts what the scheduler says: an attempt is written down with its leases, then given to the executor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from launchers.gpus import discover, holders
from orchestrator.assignment import Assignment, write_assignment
from orchestrator.errors import Conflict, ExecutorRefused, LeaseTaken, NotFound, StaleAttempt
from orchestrator.job_folder import JobFolder
from orchestrator.scheduling import Deployment, Running, Snapshot, Start, decide
from orchestrator.service.board import Active, Board, Deployed, Queued
from orchestrator.service.closing import close_refused
from orchestrator.service.deploying import deploy_for, stop
from orchestrator.service.guarding import unharmed
from orchestrator.service.ports import free_port
from orchestrator.service.tasks import attempt_task
from orchestrator.service.telling import mirror
from orchestrator.store.rows import AttemptRow, AttemptState, DeploymentState, JobHead
from orchestrator.store.tokens import hash_of, new_secret

LONGEST_WAIT = 1.0
"""Seconds between two decisions when nothing happens."""
CHOOSING = 0.05
"""Seconds that another command may take to choose its GPUs."""
HELD_UP = 2.0
"""Seconds until a job is looked at again whose port another has."""
REST = 4.0
"""Pause after a decision, in times of the processor time that it took: the rest of the service is to get most of it."""
INVENTORY_AGE = 60.0
"""Seconds after which the driver is asked again which GPUs there are."""

log = logging.getLogger(__name__)


class Dispatcher:
    """`run` is a task of the service."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._inventory_at = time.monotonic()
        self._spent = 0.0
        """Seconds of processor time of the last decision."""

    async def run(self) -> NoReturn:
        """Decide whenever something happened, until cancelled."""
        board = self._board
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT):
                    await board.wake.wait()
            board.wake.clear()
            if board.queued:
                await unharmed("the scheduler", self._decide())
                await asyncio.sleep(REST * self._spent)

    async def _decide(self) -> None:
        board = self._board
        if time.monotonic() - self._inventory_at > INVENTORY_AGE:
            board.inventory = await asyncio.to_thread(discover, board.settings.gpus)
            self._inventory_at = time.monotonic()
        taken = await self._taken()
        if taken is None:  # somebody chooses GPUs at this moment
            asyncio.get_running_loop().call_later(CHOOSING, board.wake.set)
            return
        began = time.thread_time()
        decision = decide(snapshot_of(board, taken))
        self._spent = time.thread_time() - began
        board.why = decision.why
        for evicted in decision.evict:
            await stop(board, board.deployed[evicted.deployment], "its GPUs are needed")
        for start in decision.starts:
            await unharmed(f"job {start.job}", self._start(start))

    async def _taken(self) -> frozenset[int] | None:
        """GPUs that are neither free nor leased by us."""
        board = self._board
        if not board.inventory.gpus:
            return frozenset()
        ours = {gpu for active in board.active.values() for gpu in active.gpus}
        ours |= {gpu for deployed in board.deployed.values() for gpu in deployed.row.gpus}
        held = await asyncio.to_thread(
            holders, board.settings.gpu_leases, board.inventory, owner="the scheduler looks which are free"
        )
        return None if held is None else frozenset(held) - ours

    async def _start(self, start: Start) -> None:
        """Begin an attempt; a job that changed since the decision is left as it is."""
        board = self._board
        async with board.alone_with(start.job):
            queued = board.queued.get(start.job)
            if queued is None:
                return
            deployed: Deployed | None = None
            try:
                port = None if start.deployment else await free_port(board, queued.head)
                deployed, gpus = await self._placed(queued.head, start)
                active, token = await self._begin(queued.head, gpus, deployed)
            except (Conflict, NotFound) as changed:
                if deployed:
                    deployed.users.discard(start.job)
                self._put_off(queued, changed)
                return
            active.port = port
            await self._submit(active, token, deployed)

    def _put_off(self, queued: Queued, changed: Conflict | NotFound) -> None:
        """It waits on; where another has what it needs, it lets those behind it go first for a while."""
        if isinstance(changed, LeaseTaken):
            queued.held_up = changed.message
            queued.waiting = replace(queued.waiting, not_before=time.time() + HELD_UP)
            self._board.wake.set()
        else:
            log.warning("job %s does not start now: %s", queued.head.id, changed)

    async def _placed(self, head: JobHead, start: Start) -> tuple[Deployed | None, tuple[int, ...]]:
        """The deployment that serves the job, if one does, and the GPUs that are its own.

        The deployment is the job's from here on. Raises: Conflict when it is stopped just now.
        """
        if start.deployment:
            deployed = self._board.deployed.get(start.deployment)
            if deployed is None or deployed.stopping:
                raise Conflict(f"deployment {start.deployment} is stopped just now")
        elif head.keep_alive:
            deployed = await deploy_for(self._board, head, start.gpus)
        else:
            return None, start.gpus
        deployed.users.add(head.id)
        return deployed, ()

    async def _begin(self, head: JobHead, gpus: tuple[int, ...], deployed: Deployed | None) -> tuple[Active, str]:
        board, token = self._board, new_secret()
        attempt = await asyncio.to_thread(
            board.store.begin_attempt,
            head.id,
            f"{head.id}.{head.attempt + 1}",
            board.executor.name,
            hash_of(token),
            gpus,
            deployed.row.id if deployed else None,
        )
        active = active_of(await asyncio.to_thread(_head, board, head), attempt)
        del board.queued[head.id]
        board.active[head.id] = active
        return active, token

    async def _submit(self, active: Active, token: str, deployed: Deployed | None) -> None:
        board, head = self._board, active.head
        assignment = Assignment(
            attempt=active.attempt.number,
            gpus=active.attempt.gpus,
            url=board.url,
            token=token,
            deployment=Path(deployed.row.folder) if deployed else None,
        )
        if deployed and deployed.row.id not in board.deployed:
            await close_refused(board, active, f"deployment {deployed.row.name} has just ended")
            return
        try:
            await asyncio.to_thread(mirror, head, board.store)
            write_assignment(JobFolder(Path(head.folder)), assignment)
            await board.executor.submit(active.task)
        except (ExecutorRefused, OSError) as refused:
            await close_refused(board, active, str(refused))
            return
        log.info("job %s: attempt %d is submitted", head.id, assignment.attempt)
        with contextlib.suppress(StaleAttempt):  # it ended already
            await asyncio.to_thread(board.store.mark_attempt, head.id, assignment.attempt, AttemptState.SUBMITTED)


def active_of(head: JobHead, attempt: AttemptRow) -> Active:
    """An attempt as the board knows it."""
    moment = time.time()
    return Active(head, attempt, attempt_task(head, attempt), set(attempt.gpus), moment, moment)


def snapshot_of(board: Board, taken: frozenset[int]) -> Snapshot:
    """What the scheduler decides by."""
    return Snapshot(
        now=time.time(),
        gpus=tuple(gpu.index for gpu in board.inventory.gpus),
        taken=taken,
        waiting=tuple(queued.waiting for queued in board.queued.values()),
        running=tuple(_running(board, active) for active in board.active.values()),
        deployments=tuple(_deployment(deployed) for deployed in board.deployed.values()),
        max_running=board.settings.service.max_running,
    )


def _running(board: Board, active: Active) -> Running:
    held = board.held.get(active.head.serve_key)
    end = active.began + held if held is not None else None
    return Running(active.head.id, tuple(sorted(active.gpus)), active.head.serve_key, end)


def _deployment(deployed: Deployed) -> Deployment:
    row = deployed.row
    idle_until = None if row.keep_alive is None else (row.idle_since or time.time()) + row.keep_alive
    if deployed.stopping or row.state is DeploymentState.STOPPING:
        idle_until = time.time()
    ready = row.state is DeploymentState.READY and not deployed.stopping
    users = tuple(sorted(deployed.users))
    return Deployment(row.id, row.serve_key, row.gpus, ready, users, idle_until)


def _head(board: Board, head: JobHead) -> JobHead:
    return board.store.job(head.id) or head
