"""What the service has in mind while it runs: the queue, what runs, who waits for news. The store is the truth."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from weakref import WeakValueDictionary

from launchers.gpus import Inventory
from orchestrator.executors import Executor, Task
from orchestrator.record import Event
from orchestrator.scheduling import Waiting
from orchestrator.settings import Settings
from orchestrator.store.rows import AttemptRow, DeploymentRow, JobHead
from orchestrator.store.store import Store

Observer = Callable[[JobHead, Sequence[Event]], None]
"""Told of a job and its new events, on the event loop; must not block."""


@dataclass(slots=True)
class Queued:
    """A job that waits."""

    head: JobHead
    waiting: Waiting
    held_up: str = ""
    """Why it did not start when it was its turn; it holds until `waiting.not_before`."""


@dataclass(slots=True)
class Active:
    """An attempt that is not over."""

    head: JobHead
    attempt: AttemptRow
    task: Task
    gpus: set[int]
    """Those that it still holds."""
    heard: float
    """When it last gave a sign of life, in seconds since the epoch; at first when this service began to listen."""
    began: float
    """When it got its GPUs, in seconds since the epoch."""
    port: int | None = None
    """The one that its spec names, where it is known: one that an earlier service started has it leased by now."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The last one that was stored."""


@dataclass(slots=True)
class Deployed:
    """A deployment that lives."""

    row: DeploymentRow
    task: Task
    users: set[str] = field(default_factory=set)
    """Jobs whose attempt uses it, or is about to."""
    stopping: bool = False
    """No job is given it any more."""


class Board:
    """Shared by the rooms of the service; touched on its event loop only."""

    def __init__(self, settings: Settings, store: Store, executor: Executor, url: str, inventory: Inventory) -> None:
        self.settings = settings
        self.store = store
        self.executor = executor
        self.url = url
        self.inventory = inventory
        self.queued: dict[str, Queued] = {}
        self.active: dict[str, Active] = {}
        self.deployed: dict[str, Deployed] = {}
        self.why: Mapping[str, str] = {}
        """Why jobs at the front of the queue wait, from the last decision."""
        self.held: dict[str, float] = {}
        """Seconds that the last job held its GPUs, by `serve_key`."""
        self.wake = asyncio.Event()
        """Something happened that the dispatcher may act on."""
        self.observers: list[Observer] = []
        self._news: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def alone_with(self, job_id: str) -> AsyncIterator[None]:
        """One change of a job at a time."""
        lock = self._locks.get(job_id) or asyncio.Lock()
        self._locks[job_id] = lock
        async with lock:
            yield

    def enqueue(self, head: JobHead) -> None:
        """The job waits from now on."""
        waiting = Waiting(
            id=head.id,
            priority=head.priority,
            order=head.number,
            gpus=head.gpus_needed,
            explicit=head.gpus_explicit,
            serve_key=head.serve_key,
            expected_seconds=self.held.get(head.serve_key),
            not_before=head.not_before,
        )
        # Without the documents that a `JobRow` has: thousands may wait.
        kept = JobHead(**{field.name: getattr(head, field.name) for field in fields(JobHead)})
        self.queued[head.id] = Queued(kept, waiting)
        self.wake.set()

    def ended(self, job_id: str) -> None:
        """Its attempt is over, or its GPUs are: what it used is free."""
        if active := self.active.pop(job_id, None):
            self.gave_back(active)
            if deployment := self.deployed.get(active.head.deployment_id or ""):
                deployment.users.discard(job_id)
        self.wake.set()

    def gave_back(self, active: Active) -> None:
        """Its GPUs are free."""
        if active.gpus:
            self.held[active.head.serve_key] = time.time() - active.began
        active.gpus = set()
        self.wake.set()

    def changed(self, head: JobHead, events: Sequence[Event]) -> None:
        """Events of a job are in the store: tell who waits for them."""
        if news := self._news.pop(head.id, None):
            news.set()
        for observer in self.observers:
            observer(head, events)

    def news_of(self, job_id: str) -> asyncio.Event:
        """Set at the next event of the job. To be asked for before the store is read, or one may be missed."""
        news = self._news.get(job_id) or asyncio.Event()
        self._news[job_id] = news
        return news
