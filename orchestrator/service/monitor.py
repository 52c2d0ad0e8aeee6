"""Watches runners and deployments: what died is closed, what hangs is ended."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path
from typing import NoReturn

from orchestrator.executors import Status
from orchestrator.job_folder import JobFolder
from orchestrator.service.board import Active, Board
from orchestrator.service.closing import close_lost
from orchestrator.service.deploying import look_after
from orchestrator.service.guarding import unharmed
from orchestrator.store.rows import RetentionPolicy

TICK = 0.5
"""Seconds between two looks."""
BEGINNING = 60.0
"""Seconds that a process may take from its submission until it owns its folder."""
WRITE_BEATS = 10.0
"""Seconds between two times that heartbeats are written into the store."""
PRUNE = 600.0
"""Seconds between two looks for jobs that are not kept any longer."""

log = logging.getLogger(__name__)


class Monitor:
    """`run` is a task of the service."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._written = time.time()
        self._pruned = 0.0

    async def run(self) -> NoReturn:
        """Look after everything that runs, until cancelled."""
        board = self._board
        while True:
            for deployed in list(board.deployed.values()):
                await unharmed(f"deployment {deployed.row.name}", look_after(board, deployed))
            looks = (unharmed(f"job {job}", self._look_at(active)) for job, active in list(board.active.items()))
            await asyncio.gather(*looks)
            await unharmed("heartbeats", self._write_beats())
            await unharmed("retention", self._prune())
            await asyncio.sleep(TICK)

    async def _look_at(self, active: Active) -> None:
        board = self._board
        status = await board.executor.status(active.task)
        if status is Status.GONE:
            await close_lost(board, active, "the process that ran it is gone")
            return
        heard = max(active.heard, JobFolder(Path(active.head.folder)).beaten_at())
        silent = time.time() - heard
        limit = BEGINNING if status is Status.PENDING else board.settings.service.heartbeat_timeout
        if silent > limit:
            log.warning("job %s: no word from its runner for %.0f s: it is ended", active.head.id, silent)
            await board.executor.kill(active.task)

    async def _write_beats(self) -> None:
        """So that the next service, or a person, sees who lives."""
        board = self._board
        if board.active and time.time() - self._written > WRITE_BEATS:
            self._written = time.time()
            beats = {(job, active.attempt.number): active.heard for job, active in board.active.items()}
            await asyncio.to_thread(board.store.heartbeats, beats)

    async def _prune(self) -> None:
        """Let go what the operator does not keep."""
        if time.monotonic() - self._pruned < PRUNE and self._pruned:
            return
        self._pruned = time.monotonic()
        service = self._board.settings.service
        age = service.retention_days * 86400.0 if service.retention_days else None
        policy = RetentionPolicy(max_age=age, max_jobs=service.retention_jobs)
        for head in await asyncio.to_thread(self._board.store.prune, policy):
            await asyncio.to_thread(shutil.rmtree, head.folder, ignore_errors=True)
            log.info("job %s: not kept any longer", head.id)
