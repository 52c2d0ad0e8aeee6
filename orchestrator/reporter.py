"""Tells the service what happens in an attempt. The job's folder is first; what the service missed it gets later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn

import httpx
from pydantic import BaseModel, ConfigDict

from orchestrator.assignment import Assignment, read_address
from orchestrator.errors import StaleAttempt
from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, JobRecord, Progress

HEARTBEAT = 2.0
"""Seconds between two reports when nothing happens."""
FIRST_PAUSE = 0.1
"""Seconds before a report that failed is tried again; twice as many before each further try."""
LONGEST_PAUSE = 3.0
LAST_PATIENCE = 10.0
"""Seconds that the end of a job waits for a service that is away. Then the service reads the folder."""
BATCH = 200
"""Events of one report at most."""


class Answer(BaseModel):
    """What the service says to a report."""

    model_config = ConfigDict(extra="ignore")

    next_seq: int
    order: Literal["go_on", "cancel"] = "go_on"


class Stale(Exception):
    """The service knows a later attempt of this job, or none that is not over."""


class Reporter:
    """A view of one attempt. `run` is a task of its own; `finish` when the job is over."""

    def __init__(self, folder: JobFolder, assignment: Assignment, home: Path, record: Callable[[], JobRecord]) -> None:
        self.cancelled = asyncio.Event()
        """The service asks to end the job."""
        self._folder = folder
        self._assignment = assignment
        self._home = home
        self._record = record
        self._next = folder.last_seq() + 1
        self._pending: list[Event] = []
        self._wake = asyncio.Event()
        self._url = assignment.url

    def event(self, event: Event) -> None:
        """Reported at once, with what else has happened meanwhile."""
        self._pending.append(event)
        self._wake.set()

    def progress(self, progress: Progress) -> None:
        """Nothing: progress is part of the record, which goes with every report."""

    async def run(self) -> NoReturn:
        """Report until cancelled. Raises: Stale when nothing of this attempt is wanted any more."""
        async with self._client() as client:
            while True:
                await self._report_until_taken(client)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await self._wake.wait()

    async def beat(self) -> NoReturn:
        """Until cancelled: show on disk that this process is well."""
        while True:
            self._folder.beat()
            await asyncio.sleep(HEARTBEAT)

    async def finish(self) -> None:
        """Report the end, as far as the service can be reached in time."""
        with contextlib.suppress(TimeoutError, Stale):
            async with asyncio.timeout(LAST_PATIENCE), self._client() as client:
                while self._pending:
                    await self._report_until_taken(client)

    async def _report_until_taken(self, client: httpx.AsyncClient) -> None:
        pause = FIRST_PAUSE
        while not await self._report(client):
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
            address = read_address(self._home)
            self._url = address.url if address else self._url

    async def _report(self, client: httpx.AsyncClient) -> bool:
        """Whether the service took it."""
        self._wake.clear()
        events = self._unsent()
        body = {
            "events": [event.model_dump(mode="json") for event in events],
            "record": self._record().model_dump(mode="json") if len(events) < BATCH else None,
        }
        try:
            answer = await client.post(self._route(), json=body)
            if answer.status_code == httpx.codes.CONFLICT and answer.json().get("code") == StaleAttempt.code:
                raise Stale(answer.text)
            self._taken(Answer.model_validate_json(answer.raise_for_status().content))
        except (httpx.HTTPError, ValueError):  # away, upgraded, overloaded, or another server at its address
            return False
        return True

    def _unsent(self) -> list[Event]:
        first = self._pending[0].seq if self._pending else self._folder.last_seq() + 1
        if self._next < first:  # the service lacks events that it once had, or that an earlier attempt wrote
            return self._folder.events(self._next - 1)[:BATCH]
        return self._pending[:BATCH]

    def _taken(self, answer: Answer) -> None:
        self._next = answer.next_seq
        self._pending = [event for event in self._pending if event.seq >= answer.next_seq]
        if self._pending:
            self._wake.set()
        if answer.order == "cancel":
            self.cancelled.set()

    def _route(self) -> str:
        return f"{self._url}/attempts/{self._folder.id}/{self._assignment.attempt}/reports"

    def _client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self._assignment.token}"}
        return httpx.AsyncClient(headers=headers, timeout=10.0, trust_env=False)
