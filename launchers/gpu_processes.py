"""Which processes use a GPU, as the driver tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One process on one GPU; inside a container the driver may name it by an id of the host."""

    gpu: int
    pid: int
    memory: int | None
    """Bytes; None where the driver does not tell per process."""


def gpu_processes(indices: Sequence[int]) -> list[GpuProcess] | None:
    """The compute and graphics processes on these GPUs; None without a driver. Milliseconds."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return [process for index in indices for process in _on(index)]
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _on(index: int) -> list[GpuProcess]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    listed = [
        *pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
        *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
    ]
    memory: dict[int, int | None] = {}
    for process in listed:  # one that computes and draws is listed twice
        memory[process.pid] = process.usedGpuMemory if process.usedGpuMemory else memory.get(process.pid)
    return [GpuProcess(index, pid, used) for pid, used in memory.items()]
