"""Whether others use the GPU: judged by what the driver lists."""

from __future__ import annotations

from launchers.gpu_processes import GpuProcess
from orchestrator.evaluators.speed.memory import sharing

OURS = frozenset({100, 101})


def test_a_gpu_that_only_the_engine_uses_is_not_shared() -> None:
    assert sharing(OURS, [GpuProcess(0, 100, 2**30), GpuProcess(1, 101, None)]) == []
    assert sharing(OURS, []) == []


def test_every_other_process_is_named_with_its_memory() -> None:
    listed = [GpuProcess(0, 100, 2**30), GpuProcess(0, 7, 512 * 2**20), GpuProcess(1, 8, None)]
    assert sharing(OURS, listed) == [
        "GPU 0 is also used by process 7 (512 MiB)",
        "GPU 1 is also used by process 8",
    ]


def test_where_the_driver_names_processes_by_ids_of_the_host_more_than_ours_are_too_many() -> None:
    hosts = [GpuProcess(0, 90_001, None), GpuProcess(0, 90_002, None), GpuProcess(0, 90_003, None)]
    assert sharing(OURS, hosts[:2]) == []
    assert sharing(OURS, hosts) == ["the driver lists 3 processes on the GPUs, 2 serve"]
