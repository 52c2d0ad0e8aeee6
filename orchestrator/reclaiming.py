"""Ports and GPU memory after a process has ended: waited for, and proved in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from launchers.gpus import memory_used
from launchers.leftovers import Removed
from launchers.ports import is_listening, wait_free
from launchers.process import StopReport
from orchestrator.record import Teardown

PORT_PATIENCE = 10.0
"""Seconds that a port may take to be free after its owner is gone."""
GPU_PATIENCE = 60.0
"""Seconds that a driver may take to give memory back: one was seen to hold it for over 30 s."""
GPU_TOLERANCE = 256 * 2**20
"""Bytes by which the memory in use may differ from before the start."""


async def memory_back(before: Mapping[int, int] | None) -> dict[int, tuple[int, int]] | None:
    """Wait until each GPU uses no more than before the start; GPU -> bytes (before, now). None without GPUs."""
    if not before:
        return None
    deadline = time.monotonic() + GPU_PATIENCE
    while True:
        after = memory_used(tuple(before)) or {}
        held = {gpu: (used, after.get(gpu, used)) for gpu, used in before.items()}
        if all(now - then <= GPU_TOLERANCE for then, now in held.values()) or time.monotonic() > deadline:
            return held
        await asyncio.sleep(0.5)


async def ports_back(ports: Sequence[int], *, ours_gone: bool) -> dict[int, str]:
    """Wait until the ports are free: port -> `free`, `held`, or `foreign` where nothing of ours is left to listen."""
    foreign = frozenset(port for port in ports if is_listening(port)) if ours_gone else frozenset()
    held = await wait_free((port for port in ports if port not in foreign), timeout=PORT_PATIENCE)
    return {port: "foreign" if port in foreign else "held" if port in held else "free" for port in ports}


def proof(
    reports: Sequence[StopReport],
    killed: Sequence[int],
    survivors: Sequence[int],
    ports: Mapping[int, str],
    memory: Mapping[int, tuple[int, int]] | None,
    files: Sequence[Removed],
    seconds: float,
) -> Teardown:
    """What the record says of a teardown; `killed` and `survivors` are those of the sweep by marker."""
    left = sorted({*survivors, *(pid for report in reports for pid in report.survivors)})
    swept = sorted({*killed, *(pid for report in reports for pid in report.swept)})
    stuck = [path for one in files for path in one.left]
    given_back = all(after - before <= GPU_TOLERANCE for before, after in (memory or {}).values())
    return Teardown(
        clean=not left and not stuck and "held" not in ports.values() and given_back,
        processes=len({pid for report in reports for pid in report.seen}),
        survivors=left,
        swept=swept,
        ports=dict(ports),
        removed=[path for one in files for path in one.paths],
        left=stuck,
        gpu_memory=dict(memory) if memory is not None else None,
        seconds=round(seconds, 3),
    )
