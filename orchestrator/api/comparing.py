"""Comparisons of the service: one task each, which submits the jobs and finds them again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from dataclasses import replace

import structlog

from orchestrator.api.views import when
from orchestrator.comparing.folder import ComparisonFolder
from orchestrator.comparing.model import Comparison, VariantResult
from orchestrator.comparing.plan import PlannedJob, plan_of
from orchestrator.comparing.running import compared, conduct
from orchestrator.comparing.spec import ComparisonSpec
from orchestrator.errors import Conflict, NotFound, NotReady, OrchestratorError, PreconditionFailed, TerminalState
from orchestrator.record import JobRecord
from orchestrator.service.core import Service
from orchestrator.store.jobs import check_version
from orchestrator.store.rows import ComparisonRow, Idempotency, Json

WAIT = 60.0
"""Seconds of one wait for a job's events."""


class Comparisons:
    """Conducts every comparison that is not over; `run` until the service stops."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._fresh: asyncio.Queue[ComparisonRow] = asyncio.Queue()

    async def start(self, spec: ComparisonSpec, by: str | None) -> ComparisonRow:
        """Store a comparison and begin with it."""
        settings = self._service.settings
        plan = plan_of(spec, settings.jobs)
        folder = await asyncio.to_thread(ComparisonFolder.create, settings.root, plan)
        row = ComparisonRow(
            id=folder.id,
            name=spec.name,
            spec=spec.model_dump(mode="json", exclude_unset=True),
            jobs={},
            state="running",
            created_at=time.time(),
            created_by=by,
        )
        row = await asyncio.to_thread(self._service.store.comparisons.add, row)
        self._fresh.put_nowait(row)
        return row

    async def run(self) -> None:
        """Conduct those that an earlier service left, and every new one. Their jobs run on when this is cancelled."""
        while not self._service.ready:  # noqa: ASYNC110 - it tells in no other way, and is soon
            await asyncio.sleep(0.05)
        for row in await asyncio.to_thread(self._unfinished):
            self._fresh.put_nowait(row)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._conduct(await self._fresh.get()))

    async def cancel(self, comparison: str, version: int | None = None) -> ComparisonRow:
        """Have its jobs end that are not over, and begin no other; it is `cancelled` once all of them are over.

        Raises: NotFound, TerminalState, PreconditionFailed.
        """
        row = await asyncio.to_thread(self.get, comparison, version)
        if row.state != "running":
            raise TerminalState(f"comparison {comparison} is {row.state}", hint="it is over")
        # Noted first: a job that is submitted from now on finds it, the others are found here.
        await asyncio.to_thread(self.folder(comparison).ask_to_cancel)
        row = await asyncio.to_thread(self.get, comparison)
        for job in row.jobs.values():
            await _cancel(self._service, job)
        return row

    async def delete(self, comparison: str, version: int | None = None) -> None:
        """Forget one that is over, with its files; its jobs stay.

        Raises: NotFound, Conflict, PreconditionFailed.
        """
        row = await asyncio.to_thread(self.get, comparison, version)
        if row.state == "running":
            raise Conflict(f"comparison {comparison} is running", hint="cancel it first, or wait for its end")
        await asyncio.to_thread(self._service.store.comparisons.delete, comparison)
        await asyncio.to_thread(self.folder(comparison).remove)

    def get(self, comparison: str, version: int | None = None) -> ComparisonRow:
        """One comparison, of this version where one is named. Raises: NotFound, PreconditionFailed."""
        row = self._service.store.comparisons.get(comparison)
        if row is None:
            raise NotFound(f"no comparison `{comparison}`", hint="GET /comparisons lists them")
        if version is not None:
            check_version(f"comparison {comparison}", row.version, version)
        return row

    def folder(self, comparison: str) -> ComparisonFolder:
        """The files of a comparison."""
        return ComparisonFolder(self._service.settings.root / "comparisons" / comparison)

    def shown(self, row: ComparisonRow) -> Comparison:
        """A comparison as it is now: what was found so far, and the states of the jobs that still run."""
        if row.result is not None:
            return Comparison.model_validate(row.result)
        found = self.folder(row.id).read() or self._begun(row)
        variants = [self._current(variant, row.jobs.get(variant.name)) for variant in found.variants]
        return found.model_copy(update={"variants": variants, "state": row.state})

    def _begun(self, row: ComparisonRow) -> Comparison:
        plan = self.folder(row.id).plan()
        found, _ = compared(plan, row.id, {}, created=when(row.created_at))
        return found

    def _current(self, variant: VariantResult, job: str | None) -> VariantResult:
        row = self._service.store.job(job) if job and variant.job is None else None
        return variant.model_copy(update={"job": row.id, "state": row.state.value}) if row else variant

    def _unfinished(self) -> list[ComparisonRow]:
        rooms = self._service.store.comparisons
        found: list[ComparisonRow] = []
        before: int | None = None
        while page := rooms.page(200, before):
            found.extend(row for row in page if row.state == "running")
            before = page[-1].number
        return found

    async def _conduct(self, row: ComparisonRow) -> None:
        folder = self.folder(row.id)
        state: str
        result: Json | None
        log = structlog.get_logger().bind(comparison=row.id)
        try:
            plan = await asyncio.to_thread(folder.plan)
            found = await conduct(plan, folder, _Jobs(self._service, row, folder))
            state, result = found.state, found.model_dump(mode="json")
        except NotReady:
            return  # the service stops: the next one goes on with it
        except OrchestratorError as error:  # a job that was deleted, a spec that the policy refuses by now
            log.error("the comparison cannot go on", error=error.message)
            state, result = "incomplete", None
        except Exception:  # of this comparison; it must not end the others, which share a task group with it
            log.exception("the comparison cannot go on")
            state, result = "incomplete", None
        current = await asyncio.to_thread(self._service.store.comparisons.get, row.id)
        if current:
            await asyncio.to_thread(self._service.store.comparisons.save, replace(current, state=state, result=result))


class _Jobs:
    """Runs the jobs of one comparison through the service."""

    def __init__(self, service: Service, row: ComparisonRow, folder: ComparisonFolder) -> None:
        self._service = service
        self._row = row
        self._folder = folder

    async def run(self, variant: str, job: PlannedJob) -> JobRecord:
        """Submit a variant's job, or find it again, and wait for its end. Raises: NotFound when it was deleted."""
        digest = hashlib.sha256(job.model_dump_json().encode()).hexdigest()
        once = Idempotency(f"comparison {self._row.id}", variant, digest)
        submitted, _ = await self._service.submit(job.spec, self._row.created_by, once)
        await asyncio.to_thread(self._remember, variant, submitted.id)
        if self._folder.to_be_cancelled:
            await _cancel(self._service, submitted.id)
        seen = 0
        while True:
            events = await self._service.wait_events(submitted.id, seen, WAIT)
            seen = events[-1].seq if events else seen
            if any(event.state.terminal for event in events):
                return await asyncio.to_thread(self._record, submitted.id)

    def _remember(self, variant: str, job: str) -> None:
        rooms = self._service.store.comparisons
        while (row := rooms.get(self._row.id)) and row.jobs.get(variant) != job:
            with contextlib.suppress(PreconditionFailed):  # another variant of it was remembered meanwhile
                rooms.save(replace(row, jobs={**row.jobs, variant: job}))

    def _record(self, job: str) -> JobRecord:
        row = self._service.store.job(job)
        if row is None:
            raise NotFound(f"job {job} was deleted")
        return JobRecord.model_validate(row.record)


async def _cancel(service: Service, job: str) -> None:
    """End a job of a comparison; one that is over, or was deleted, is left as it is."""
    with contextlib.suppress(TerminalState, NotFound):
        await service.cancel(job)
