"""From a spec to a queued job: its folder, then its row. Every error of the spec at once, before either is made."""

from __future__ import annotations

import hashlib
import json
import shutil
import time

from clients.spec import GatewaySpec
from launchers.compress.spec import CompressSpec
from launchers.gpus import Inventory
from launchers.registry import get_engine
from launchers.spec import ServeSpec
from orchestrator.assignment import BASE as BASE
from orchestrator.errors import BadSpec
from orchestrator.intake import default_name
from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, JobRecord, State, now
from orchestrator.settings import Settings
from orchestrator.spec.checks import check_job, require_data
from orchestrator.spec.models import JobSpec
from orchestrator.store.rows import Idempotency, JobRow, NewJob
from orchestrator.store.store import Store


def submit(
    spec: JobSpec,
    store: Store,
    settings: Settings,
    inventory: Inventory,
    *,
    by: str | None,
    idempotency: Idempotency | None = None,
    resumed_from: JobFolder | None = None,
    max_queued: int | None = None,
) -> tuple[JobRow, Event | None]:
    """Queue a job; the job, and its first event (None: the idempotency key was used before, and made that job).

    `resumed_from` is the folder of an earlier job whose answers are reused. Blocks for milliseconds.
    Raises: BadSpec, DatasetMissing, IdempotencyConflict, QueueFull.
    """
    # The inventory may be old by now: what it does not allow is looked at again.
    if check_job(spec, BASE, settings, inventory) and (errors := check_job(spec, BASE, settings)):
        raise BadSpec(errors)
    require_data(spec, BASE, settings)
    folder = JobFolder.create(settings.jobs)
    try:
        new, first = _new_job(spec, settings, inventory, folder, by, resumed_from), _queued()
        job, created = store.add_job(new, idempotency, first, max_queued=max_queued)
    except BaseException:
        shutil.rmtree(folder.path)
        raise
    if not created:
        shutil.rmtree(folder.path)
    return job, first if created else None


def serve_key(serve: ServeSpec, compress: CompressSpec | None, gateway: GatewaySpec) -> str:
    """Equal where one server can serve both."""
    told = {
        "serve": serve.model_dump(mode="json"),
        "compress": compress.model_dump(mode="json") if compress else None,
        "sampling_in_full": gateway.sampling_in_full,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def gpus_needed(serve: ServeSpec, inventory: Inventory) -> int:
    """GPUs to lease for it on this machine."""
    return get_engine(serve.engine).gpus_needed(serve, len(inventory.gpus))


def _new_job(
    spec: JobSpec,
    settings: Settings,
    inventory: Inventory,
    folder: JobFolder,
    by: str | None,
    resumed_from: JobFolder | None,
) -> NewJob:
    document = spec.model_dump(mode="json", exclude_unset=True)
    folder.spec.write_text(json.dumps(document))
    if resumed_from:
        folder.carry_answers(resumed_from)
    record = JobRecord(
        id=folder.id,
        name=spec.name or default_name(spec),
        attempt=0,
        spec=document,
        labels=spec.labels,
        notes=list(spec.notes),
        created_at=now(),
        resumed_from=resumed_from.id if resumed_from else None,
        folder=str(folder.path),
    )
    folder.write(record)
    return NewJob(
        id=folder.id,
        name=record.name,
        engine=spec.serve.engine,
        spec=document,
        record=record.model_dump(mode="json"),
        folder=str(folder.path),
        created_at=time.time(),
        priority=spec.priority,
        gpus_needed=gpus_needed(spec.serve, inventory),
        gpus_explicit=tuple(spec.serve.gpus) if spec.serve.gpus else None,
        serve_key=serve_key(spec.serve, spec.compress, spec.gateway),
        labels=spec.labels,
        keep_alive=spec.keep_alive,
        attempts_max=settings.service.attempts_max,
        submitted_by=by,
        resumed_from=record.resumed_from,
    )


def _queued() -> Event:
    return Event(
        seq=1, time=now(), attempt=0, type="state", state=State.QUEUED, phase=State.QUEUED.value, message="in the queue"
    )
