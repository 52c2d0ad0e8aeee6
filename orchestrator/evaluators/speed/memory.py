"""Memory of the serving processes: on their GPUs as the driver tells, else in main memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import psutil

from launchers import marker
from launchers.gpu_processes import GpuProcess, gpu_processes
from launchers.gpus import discover, memory_used
from launchers.ports import listeners
from orchestrator.evaluators.speed.served import ServedReplica
from orchestrator.speed import Memory

LOOK = 0.5
"""Seconds between two looks."""


@dataclass(slots=True)
class Seen:
    """The most memory that was seen."""

    peak: Memory | None = None


@dataclass(frozen=True, slots=True)
class ServingProcesses:
    """The processes behind the gateway that run on this machine."""

    pids: frozenset[int]
    gpus: tuple[int, ...]

    def memory(self) -> Memory | None:
        """What they use now; None where none of them is known. Milliseconds."""
        if not self.pids:
            return None
        if self.gpus:
            return _on_gpus(self.pids, self.gpus)
        return Memory(bytes=sum(map(_resident, self.pids)), kind="resident")

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Seen]:
        """Look for the length of the block, from a thread: nothing waits for it."""
        seen = Seen(await asyncio.to_thread(self.memory))
        looking = asyncio.create_task(self._look(seen))
        try:
            yield seen
        finally:
            looking.cancel()
            await asyncio.wait([looking])
        self._note(seen, await asyncio.to_thread(self.memory))

    async def _look(self, seen: Seen) -> None:
        while True:
            await asyncio.sleep(LOOK)
            self._note(seen, await asyncio.to_thread(self.memory))

    def _note(self, seen: Seen, now: Memory | None) -> None:
        if now and (seen.peak is None or now.bytes > seen.peak.bytes):
            seen.peak = now


def serving_processes(replicas: Iterable[ServedReplica]) -> ServingProcesses:
    """The trees of those who listen where the replicas do, and everything that carries their marks."""
    roots = {pid for replica in replicas if replica.local for pid in listeners(replica.port)}
    pids = frozenset(pid for root in roots for pid in _tree(root))
    return ServingProcesses(pids, _gpus(pids, roots))


def sharing(ours: frozenset[int], listed: Sequence[GpuProcess]) -> list[str]:
    """Who else uses the GPUs on which `listed` are, one sentence each.

    Inside a container the driver may name processes by ids of the host, none of them ours: then more of them than
    we run are too many.
    """
    here = any(process.pid in ours for process in listed)
    if not here:
        return [f"the driver lists {len(listed)} processes on the GPUs, {len(ours)} serve"] * (len(listed) > len(ours))
    foreign = [process for process in listed if process.pid not in ours]
    return [f"GPU {one.gpu} is also used by process {one.pid}{_size(one.memory)}" for one in foreign]


def shared_gpus(serving: ServingProcesses) -> list[str]:
    """As `sharing`, now; nothing without GPUs."""
    return sharing(serving.pids, gpu_processes(serving.gpus) or []) if serving.gpus else []


def _on_gpus(pids: frozenset[int], gpus: tuple[int, ...]) -> Memory | None:
    own = [process.memory for process in gpu_processes(gpus) or [] if process.pid in pids]
    told = [used for used in own if used is not None]
    if told and len(told) == len(own):
        return Memory(bytes=sum(told), kind="gpu_process")
    device = memory_used(gpus)
    return Memory(bytes=sum(device.values()), kind="gpu_device") if device else None


def _gpus(pids: frozenset[int], roots: Iterable[int]) -> tuple[int, ...]:
    """Those on which the driver sees the processes, else those that their environment names."""
    there = [gpu.index for gpu in discover(None).gpus]
    seen = {process.gpu for process in gpu_processes(there) or [] if process.pid in pids}
    named = {int(part) for root in roots for part in _visible(root).split(",") if part.strip().isdigit()}
    return tuple(sorted(seen or named.intersection(there)))


def _tree(root: int) -> Iterable[int]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(root)
        yield root
        yield from (child.pid for child in process.children(recursive=True))
        if mark := process.environ().get(marker.VARIABLE):
            yield from (marked.pid for marked in marker.find(mark))


def _visible(pid: int) -> str:
    try:
        return psutil.Process(pid).environ().get("CUDA_VISIBLE_DEVICES", "")
    except psutil.Error:
        return ""


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _size(memory: int | None) -> str:
    return f" ({memory / 2**20:.0f} MiB)" if memory else ""
