"""GPU discovery and leases, with a declared inventory where there is no driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launchers.errors import GpuUnavailable
from launchers.gpus import Inventory, discover, lease_gpus, memory_used, visible_devices

LEASER = [sys.executable, str(Path(__file__).with_name("leaser.py"))]
NO_DRIVER = discover(None, {}).source == "none"
without_driver = pytest.mark.skipif(not NO_DRIVER, reason="this machine has an NVIDIA driver")
with_driver = pytest.mark.skipif(NO_DRIVER, reason="this machine has no NVIDIA driver")


def indices(inventory: Inventory) -> list[int]:
    return [gpu.index for gpu in inventory.gpus]


@without_driver
def test_without_a_driver_there_are_none_and_the_reason_says_why() -> None:
    found = discover(None, {})
    assert (found.gpus, found.source, found.driver) == ((), "none", None)
    assert "no usable NVIDIA driver" in found.reason
    assert memory_used([0]) is None


@without_driver
def test_a_declared_inventory_stands_in_for_a_driver() -> None:
    found = discover(4, {})
    assert found.source == "declared"
    assert indices(found) == [0, 1, 2, 3]
    assert len({gpu.uuid for gpu in found.gpus}) == 4


@with_driver
def test_the_driver_tells_names_memory_and_use() -> None:
    found = discover(None, {})
    assert found.source == "nvml"
    assert found.driver
    assert all(gpu.memory_total > 1 << 30 and gpu.uuid.startswith("GPU-") for gpu in found.gpus)
    used = memory_used(indices(found))
    assert used is not None
    assert all(0 <= used[gpu.index] <= gpu.memory_total for gpu in found.gpus)


@with_driver
def test_fewer_declared_than_the_driver_shows_is_the_limit() -> None:
    assert discover(0, {}).gpus == ()
    assert indices(discover(1, {})) == [0]
    assert len(discover(1000, {}).gpus) == len(discover(None, {}).gpus)


@without_driver
@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,3", [2, 3]),
        ("3,1", [3, 1]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,9,1", [0]),  # as CUDA reads it: up to the first that is none
        ("declared-2,declared-0", [2, 0]),
        ("1,1", [1]),
    ],
)
def test_inherited_visible_devices_limit_what_may_be_leased(visible: str, expected: list[int]) -> None:
    found = discover(4, {"CUDA_VISIBLE_DEVICES": visible})
    assert indices(found) == expected
    assert "CUDA_VISIBLE_DEVICES" in found.reason


@pytest.fixture
def four() -> Inventory:
    found = discover(4, {})
    if len(found.gpus) < 4:
        pytest.skip("the driver shows fewer than 4 GPUs")
    return found


def test_a_lease_takes_the_lowest_free_ones_and_gives_them_back(tmp_path: Path, four: Inventory) -> None:
    with (
        lease_gpus(tmp_path, four, owner="job-1", count=2) as first,
        lease_gpus(tmp_path, four, owner="job-2", count=1) as second,
    ):
        assert (first.indices, second.indices) == ((0, 1), (2,))
        assert not any(map(os.get_inheritable, first.filenos()))
    with lease_gpus(tmp_path, four, owner="job-3", count=4) as all_of_them:
        assert all_of_them.indices == (0, 1, 2, 3)
    all_of_them.release()  # once more does no harm


def test_too_few_free_ones_is_an_error_that_names_the_holders_and_takes_none(tmp_path: Path, four: Inventory) -> None:
    with lease_gpus(tmp_path, four, owner="job-1", count=1, wanted=[1]):
        with pytest.raises(GpuUnavailable) as raised:
            lease_gpus(tmp_path, four, owner="job-2", count=4)
        assert f"4 of 4 GPUs asked for; leased: 1 by job-1 (pid {os.getpid()})" in raised.value.message
        with lease_gpus(tmp_path, four, owner="job-3", count=3) as rest:
            assert rest.indices == (0, 2, 3)


def test_wanted_ones_are_leased_all_or_none(tmp_path: Path, four: Inventory) -> None:
    with lease_gpus(tmp_path, four, owner="job-1", count=2, wanted=[3, 1]) as lease:
        assert lease.indices == (3, 1)
        with pytest.raises(GpuUnavailable, match=r"GPUs \[2, 3\] asked for; leased: 3 by job-1"):
            lease_gpus(tmp_path, four, owner="job-2", count=2, wanted=[2, 3])
        lease_gpus(tmp_path, four, owner="job-3", count=2, wanted=[0, 2]).release()


@pytest.mark.parametrize(
    ("count", "wanted", "message"),
    [
        (5, None, "5 GPUs asked for, 4 here"),
        (1, [7], "no GPU 7 here: there are 0, 1, 2, 3"),
        (2, [1, 1], "2 GPUs are needed, but"),
        (2, [1], "2 GPUs are needed, but"),
    ],
)
@without_driver
def test_what_does_not_exist_is_never_leased(
    tmp_path: Path, count: int, wanted: list[int] | None, message: str
) -> None:
    with pytest.raises(GpuUnavailable, match=message):
        lease_gpus(tmp_path, discover(4, {}), owner="job", count=count, wanted=wanted)


def test_no_gpus_is_a_lease_too(tmp_path: Path) -> None:
    with lease_gpus(tmp_path, discover(None, {}), owner="job", count=0) as lease:
        assert lease.indices == ()
        assert visible_devices(lease.indices) == ""


def test_visible_devices_are_a_comma_separated_list() -> None:
    assert visible_devices((4, 5)) == "4,5"


def test_many_processes_never_lease_one_gpu_twice(tmp_path: Path, four: Inventory) -> None:
    workers = [subprocess.Popen([*LEASER, "gpus", str(tmp_path), "4", "20"]) for _ in range(6)]
    assert [worker.wait(20) for worker in workers] == [0] * 6
    held: set[str] = set()
    events = [line.split() for line in (tmp_path / "uses").read_text().splitlines()]
    assert len(events) == 6 * 20 * 2 * 2
    for event, gpu in events:
        assert (event == "begin") == (gpu not in held), f"GPU {gpu} was leased twice"
        held ^= {gpu}
