"""Deployments: servers that outlive a job, asked for by people or kept alive between jobs with the same `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

from clients.spec import GatewaySpec, ProbeSpec
from launchers.errors import GpuUnavailable
from launchers.gpus import holders
from launchers.marker import sweep
from launchers.spec import ServeSpec
from orchestrator.deployment import DeploymentFolder, DeploymentRecord, new_deployment
from orchestrator.errors import BadSpec, Conflict, DeploymentError, ExecutorRefused, NotFound, PreconditionFailed
from orchestrator.executors import Status
from orchestrator.intake import Wanted
from orchestrator.job_folder import own
from orchestrator.record import Failure, now
from orchestrator.service.board import Board, Deployed
from orchestrator.service.intake import gpus_needed, serve_key
from orchestrator.service.tasks import owner_task
from orchestrator.spec.checks import check_serve
from orchestrator.spec.models import JobSpec
from orchestrator.store.rows import DeploymentRow, DeploymentState, JobHead

SWEEP_PATIENCE = 10.0
"""Seconds that what is left of a deployment may take to end."""
_STATES = {
    "ready": DeploymentState.READY,
    "stopping": DeploymentState.STOPPING,
    "stopped": DeploymentState.STOPPED,
    "failed": DeploymentState.FAILED,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A deployment to start."""

    name: str
    wanted: Wanted
    serve_key: str
    keep_alive: float | None
    gpus: tuple[int, ...]
    by: str | None


async def deploy(board: Board, wanted: Wanted, name: str | None, keep_alive: float | None, by: str | None) -> Deployed:
    """Serve a model until it is deleted, or idle for `keep_alive` seconds; returns before it is ready.

    Raises: BadSpec, Conflict (the name is taken), GpuUnavailable.
    """
    if errors := check_serve(wanted.serve, board.settings, wanted.compress):
        raise BadSpec(errors)
    order = Order(
        name=name or f"{wanted.serve.engine}-{wanted.serve.served_name}",
        wanted=wanted,
        serve_key=serve_key(wanted.serve, wanted.compress, GatewaySpec()),
        keep_alive=keep_alive,
        gpus=await _free_gpus(board, wanted),
        by=by,
    )
    return await _start(board, order)


async def deploy_for(board: Board, head: JobHead, gpus: tuple[int, ...]) -> Deployed:
    """A deployment on these GPUs for a job with `keep_alive`, and for those that come after it. Raises: Conflict."""
    job = await asyncio.to_thread(board.store.job, head.id)
    if job is None:
        raise NotFound(f"no job {head.id}")
    spec = JobSpec.model_validate(job.spec)
    wanted = Wanted(spec.serve, spec.probe, spec.compress)
    name = f"for-{head.id}"
    return await _start(board, Order(name, wanted, head.serve_key, head.keep_alive, gpus, head.submitted_by))


async def undeploy(board: Board, id_or_name: str, version: int | None) -> DeploymentRow:
    """Begin to stop what somebody named.

    Raises: NotFound, Conflict (jobs use it, or it is over), PreconditionFailed.
    """
    named = [one for one in board.deployed.values() if id_or_name in (one.row.id, one.row.name)]
    if not named:
        past = await asyncio.to_thread(board.store.deployments.get, id_or_name)
        if past is None:
            raise NotFound(f"no deployment {id_or_name}")
        raise Conflict(f"deployment {id_or_name} is {past.state}")
    deployed = named[0]
    if version is not None and version != deployed.row.version:
        raise PreconditionFailed(f"deployment {id_or_name} changed since version {version}")
    if deployed.users:
        raise Conflict(f"deployment {id_or_name} is used by {', '.join(sorted(deployed.users))}", hint="cancel them")
    await stop(board, deployed, "by request")
    return deployed.row


async def stop(board: Board, deployed: Deployed, why: str) -> None:
    """Begin to stop it; nothing while jobs use it."""
    async with board.alone_with(deployed.row.id):
        await _stop(board, deployed, why)


async def _stop(board: Board, deployed: Deployed, why: str) -> None:
    if deployed.users:
        return  # somebody was quicker
    deployed.stopping = True
    log.info("deployment %s is stopped: %s", deployed.row.name, why)
    if deployed.row.state is not DeploymentState.STOPPING:
        deployed.row = await asyncio.to_thread(
            board.store.deployments.save, replace(deployed.row, state=DeploymentState.STOPPING)
        )
    await board.executor.cancel(deployed.task)


async def look_after(board: Board, deployed: Deployed) -> None:
    """Take over what its owner says; stop it when it was idle for long; close it when its owner is gone."""
    async with board.alone_with(deployed.row.id):
        status = await board.executor.status(deployed.task)
        record = await asyncio.to_thread(DeploymentFolder(Path(deployed.row.folder)).read)
        if status is Status.GONE:
            await _close(board, deployed)
        elif record:
            await _follow(board, deployed, record)
            await _stop_when_idle(board, deployed)
            if deployed.row.state is DeploymentState.STOPPING and record.state == "ready":
                await board.executor.cancel(deployed.task)  # whoever wanted it stopped was killed in between


async def _start(board: Board, order: Order) -> Deployed:
    row = DeploymentRow(
        id=f"d-{secrets.token_hex(6)}",
        name=order.name,
        state=DeploymentState.STARTING,
        serve=order.wanted.serve.model_dump(mode="json", exclude_unset=True),
        probe=order.wanted.probe.model_dump(mode="json", exclude_unset=True),
        compress=order.wanted.compress.model_dump(mode="json", exclude_unset=True) if order.wanted.compress else None,
        serve_key=order.serve_key,
        keep_alive=order.keep_alive,
        folder=str(board.settings.deployments / order.name),
        created_at=time.time(),
        created_by=order.by,
        gpus=order.gpus,
    )
    await asyncio.to_thread(board.store.deployments.add, row)
    deployed = Deployed(row, owner_task(row))
    try:
        await asyncio.to_thread(_prepare, board, order)
        await board.executor.submit(deployed.task)
    except (DeploymentError, ExecutorRefused) as error:
        failed = replace(row, state=DeploymentState.FAILED, record={"failure": {"message": error.message}})
        await asyncio.to_thread(board.store.deployments.save, failed)
        raise Conflict(error.message, hint=error.hint) from error
    board.deployed[row.id] = deployed
    return deployed


def _prepare(board: Board, order: Order) -> None:
    serve = order.wanted.serve
    placed = serve.model_copy(update={"gpus": list(order.gpus)}) if order.gpus else serve
    new_deployment(order.name, placed, order.wanted.probe, board.settings, order.wanted.compress)


async def _free_gpus(board: Board, wanted: Wanted) -> tuple[int, ...]:
    """GPUs for a deployment, now or never: those that jobs wait for are not kept for it. Raises: GpuUnavailable."""
    needed = gpus_needed(wanted.serve, board.inventory)
    leased = {number for kind, number in await asyncio.to_thread(board.store.leases) if kind == "gpu"}
    taken = await asyncio.to_thread(holders, board.settings.gpu_leases, board.inventory, owner="deploying") or {}
    free = [gpu.index for gpu in board.inventory.gpus if gpu.index not in leased and gpu.index not in taken]
    chosen = wanted.serve.gpus or free[:needed]
    if len(chosen) < needed or not set(chosen) <= set(free):
        told = f"GPUs {wanted.serve.gpus}" if wanted.serve.gpus else f"{needed} GPUs"
        hint = "wait until jobs end, or cancel some; a deployment does not queue"
        raise GpuUnavailable(f"{told} are needed, and free are {free or 'none'}", hint=hint)
    return tuple(chosen)


async def _follow(board: Board, deployed: Deployed, record: DeploymentRecord) -> None:
    row = deployed.row
    state = _STATES.get(record.state, DeploymentState.STARTING)
    if row.state is DeploymentState.STOPPING or not state.living:
        state = row.state  # it is over when its owner is gone, not before
    busy = bool(deployed.users) or state is not DeploymentState.READY
    idle_since = None if busy else row.idle_since or time.time()
    document = record.model_dump(mode="json")
    if (state, idle_since, document) == (row.state, row.idle_since, row.record):
        return
    changed = replace(
        row, state=state, idle_since=idle_since, url=record.url, gateway_url=record.gateway_url, record=document
    )
    deployed.row = await asyncio.to_thread(board.store.deployments.save, changed)
    board.wake.set()


async def _stop_when_idle(board: Board, deployed: Deployed) -> None:
    row = deployed.row
    if row.keep_alive is None or row.idle_since is None or row.state is not DeploymentState.READY:
        return
    if time.time() > row.idle_since + row.keep_alive:
        await _stop(board, deployed, f"nobody used it for {row.keep_alive:g} s")


async def _close(board: Board, deployed: Deployed) -> None:
    """Its owner is gone: as it said itself, or lost. Nothing of it runs any more afterwards."""
    record = await asyncio.to_thread(_close_folder, deployed.row)
    if record is None:
        return
    # First, so that no job is given a server that is gone.
    board.deployed.pop(deployed.row.id, None)
    if record.failure and record.failure.code == "lost":
        for job in [board.active[job] for job in deployed.users if job in board.active]:
            await board.executor.kill(job.task)  # tried again, with another server
    state = DeploymentState.STOPPED if record.state == "stopped" else DeploymentState.FAILED
    final = replace(deployed.row, state=state, record=record.model_dump(mode="json"), idle_since=None)
    with contextlib.suppress(NotFound):
        await asyncio.to_thread(board.store.deployments.save, final)
    log.info("deployment %s is %s", final.name, final.state)
    board.wake.set()


def _close_folder(row: DeploymentRow) -> DeploymentRecord | None:
    """The record of its end; None when it lives after all, or cannot be ended now.

    An owner that is only beginning, started by a service that was killed, finds the end in the record and leaves.
    """
    folder = DeploymentFolder(Path(row.folder))
    record = folder.read() or DeploymentRecord(
        name=row.name,
        state="failed",
        serve=ServeSpec.model_validate(row.serve),
        probe=ProbeSpec.model_validate(row.probe),
        created_at=now(),
        failure=Failure(code="lost", message="the folder of the deployment is gone"),
    )
    if record.mark and (left := sweep(f"{record.mark}/", patience=SWEEP_PATIENCE).survivors):
        log.error("deployment %s: processes %s cannot be ended", row.name, left)
        return None
    folder.path.mkdir(exist_ok=True)
    try:
        lock = own(folder.lock, patience=0.1)
    except BlockingIOError:
        return None
    try:
        folder.write(record)
    finally:
        os.close(lock)
    return record
