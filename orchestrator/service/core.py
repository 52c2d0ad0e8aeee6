"""The service as its REST routes see it: one object per process, whose methods run on its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from launchers.gpus import discover, holders
from launchers.locks import Held, Lock, take
from orchestrator.assignment import Address, write_address
from orchestrator.errors import Conflict, NotFound, NotReady, ServiceRunning
from orchestrator.executors import get_executor
from orchestrator.intake import Wanted
from orchestrator.job_folder import JobFolder
from orchestrator.record import Event
from orchestrator.service import deploying, intake, reports
from orchestrator.service.board import Board, Observer
from orchestrator.service.closing import cancel_queued
from orchestrator.service.dispatcher import Dispatcher
from orchestrator.service.monitor import Monitor
from orchestrator.service.recovery import load, reconcile
from orchestrator.service.reports import Report
from orchestrator.settings import Settings
from orchestrator.spec.models import JobSpec
from orchestrator.store.rows import DeploymentRow, Idempotency, JobHead, JobRow
from orchestrator.store.store import Store

log = logging.getLogger(__name__)


class Service:
    """Made by `open`; works while `running`; `close` at the end. Jobs run on after it."""

    @classmethod
    def open(cls, settings: Settings) -> Service:
        """Be the one service of this home and this store. Raises: ServiceRunning, StoreError."""
        for folder in (settings.jobs, settings.deployments):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = take(settings.root / "service.lock", f"process {os.getpid()}")
        except Held as held:
            raise ServiceRunning(
                f"a service of {settings.root} runs already: {held.owner}", hint="stop it first, or set another `home`"
            ) from None
        try:
            return cls(settings, Store.open(settings.store_url, exclusive=True), lock)
        except BaseException:
            lock.release()
            raise

    def __init__(self, settings: Settings, store: Store, lock: Lock) -> None:
        self.settings = settings
        self.store = store
        self.not_ready = "the service starts"
        """Why nothing is accepted yet; empty once it is."""
        self._lock = lock
        self._observers: list[Observer] = []
        self._board: Board | None = None

    @property
    def ready(self) -> bool:
        """Whether recovery is over and jobs are accepted."""
        return not self.not_ready

    def close(self) -> None:
        """Give the store and the lock back."""
        self.store.close()
        self._lock.release()

    @contextlib.asynccontextmanager
    async def running(self, url: str) -> AsyncIterator[None]:
        """Reconcile, then accept work and run jobs; `url` is where runners reach this service.

        Raises: ExecutorRefused when runners cannot be started at all.
        """
        self.not_ready = "it looks what runs since before it was started"
        inventory = await asyncio.to_thread(discover, self.settings.gpus)
        executor = await get_executor(self.settings.service.executor).open(self.settings)
        board = Board(self.settings, self.store, executor, url, inventory)
        board.observers = self._observers
        try:
            await load(board)
            self._board = board  # runners that lived on are heard from now on: before, they would be strangers
            await reconcile(board)
            write_address(self.settings.root, Address(url=url, pid=os.getpid()))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(Dispatcher(board).run()), group.create_task(Monitor(board).run())]
                self.not_ready = ""
                yield
                for task in tasks:
                    task.cancel()
        finally:
            self.not_ready = "the service stops"
            await executor.close()

    def observe(self, observer: Observer) -> None:
        """Call `observer` with a job and its new events after each change; it must not block."""
        self._observers.append(observer)

    async def submit(
        self,
        spec: JobSpec,
        by: str | None,
        idempotency: Idempotency | None = None,
        resumed_from: str | None = None,
        max_queued: int | None = None,
    ) -> tuple[JobRow, bool]:
        """Queue a job; the job, and whether it was made now. `resumed_from`: the job whose answers are reused.

        Raises: BadSpec, DatasetMissing, IdempotencyConflict, QueueFull, NotFound.
        """
        board = self._at_work
        earlier = JobFolder(Path((await self._job(resumed_from)).folder)) if resumed_from else None
        job, first = await asyncio.to_thread(
            intake.submit,
            spec,
            self.store,
            self.settings,
            board.inventory,
            by=by,
            idempotency=idempotency,
            resumed_from=earlier,
            max_queued=max_queued,
        )
        if first:
            board.enqueue(job)
            board.changed(job, [first])
        return job, first is not None

    async def retry(
        self, job_id: str, by: str | None, idempotency: Idempotency | None = None, max_queued: int | None = None
    ) -> tuple[JobRow, bool]:
        """A new job with the spec of one that is over, which reuses its answers.

        Raises: as `submit`; NotFound; Conflict when it is not over.
        """
        job = await self._job(job_id)
        if not job.state.terminal:
            raise Conflict(f"job {job_id} is {job.state}", hint="wait for its end, or cancel it")
        return await self.submit(JobSpec.model_validate(job.spec), by, idempotency, job_id, max_queued)

    async def cancel(self, job_id: str, version: int | None = None) -> JobHead:
        """End a job: at once where it waits, else its runner tears it down.

        Raises: NotFound, TerminalState, PreconditionFailed.
        """
        board = self._at_work
        async with board.alone_with(job_id):
            head = await asyncio.to_thread(self.store.request_cancel, job_id, version)
            if active := board.active.get(job_id):
                active.head = head
                await board.executor.cancel(active.task)
                return head
            return await cancel_queued(board, head)

    async def delete(self, job_id: str, version: int | None = None) -> None:
        """Remove a job that is over, its row and its folder. Raises: NotFound, Conflict, PreconditionFailed."""
        head = await asyncio.to_thread(self.store.delete_job, job_id, version)
        await asyncio.to_thread(shutil.rmtree, head.folder, ignore_errors=True)

    async def report(
        self, job_id: str, attempt: int, token: str, events: Sequence[Event], record: dict[str, Any] | None
    ) -> Report:
        """What a runner says. Raises: NotFound (not its attempt), StaleAttempt, TerminalState."""
        if self._board is None:
            raise NotReady(self.not_ready)
        return await reports.take(self._board, job_id, attempt, token, events, record)

    async def wait_events(self, job_id: str, after: int, timeout: float) -> list[Event]:
        """Events with a larger `seq`; waits up to `timeout` seconds for one. Raises: NotFound."""
        news = self._at_work.news_of(job_id)
        found = await asyncio.to_thread(self.store.events, job_id, after)
        if not found:
            await self._job(job_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await news.wait()
            found = await asyncio.to_thread(self.store.events, job_id, after)
        return found

    async def deploy(self, wanted: Wanted, name: str | None, keep_alive: float | None, by: str | None) -> DeploymentRow:
        """Serve a model until it is deleted, or for `keep_alive` seconds after it was last used.

        Raises: BadSpec, Conflict (a living one has the name), GpuUnavailable.
        """
        return (await deploying.deploy(self._at_work, wanted, name, keep_alive, by)).row

    async def undeploy(self, id_or_name: str, version: int | None = None) -> DeploymentRow:
        """Stop a deployment; its state is `stopping` then.

        Raises: NotFound; Conflict when jobs use it or it is over; PreconditionFailed.
        """
        return await deploying.undeploy(self._at_work, id_or_name, version)

    def why_waiting(self, job_id: str) -> str | None:
        """Why a job waits, one sentence; None where the last decision says nothing of it, or none was made yet."""
        board = self._board
        if board is None:
            return None
        queued = board.queued.get(job_id)
        if queued and queued.waiting.not_before > time.time() and queued.held_up:
            return queued.held_up
        return board.why.get(job_id)

    async def resources(self) -> dict[str, Any]:
        """GPUs and who holds them, leases, the range of ports, what runs and waits."""
        board = self._at_work
        leases = await asyncio.to_thread(self.store.leases)
        foreign = await asyncio.to_thread(holders, self.settings.gpu_leases, board.inventory, owner="resources") or {}
        return {
            "gpus": [
                {
                    "index": gpu.index,
                    "uuid": gpu.uuid,
                    "name": gpu.name,
                    "memory_total": gpu.memory_total,
                    "holder": leases.get(("gpu", gpu.index)) or foreign.get(gpu.index),
                }
                for gpu in board.inventory.gpus
            ],
            "gpu_source": board.inventory.source,
            "leases": [{"kind": kind, "number": number, "holder": who} for (kind, number), who in leases.items()],
            "ports": {"first": self.settings.first_port, "last": self.settings.last_port},
            "running": len(board.active),
            "queued": len(board.queued),
            "deployments": len(board.deployed),
        }

    @property
    def _at_work(self) -> Board:
        if self._board is None or self.not_ready:
            raise NotReady(f"the service is not ready: {self.not_ready}", hint="try again in a moment")
        return self._board

    async def _job(self, job_id: str) -> JobRow:
        job = await asyncio.to_thread(self.store.job, job_id)
        if job is None:
            raise NotFound(f"no job {job_id}")
        return job
