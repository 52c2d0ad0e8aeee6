"""GPUs: which there are, leases that are never given twice, the memory in use.

GPUs are numbered as the driver does (PCI bus order): set `CUDA_DEVICE_ORDER=PCI_BUS_ID` beside
`CUDA_VISIBLE_DEVICES`, or CUDA numbers unequal GPUs by their speed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pynvml

from launchers import locks
from launchers.errors import GpuUnavailable

_TURN = 5.0  # seconds to wait while another process chooses its GPUs, which takes milliseconds


@dataclass(frozen=True)
class Gpu:
    """One GPU; `memory_total` in bytes, 0 for a declared one."""

    index: int
    uuid: str
    name: str
    memory_total: int


@dataclass(frozen=True)
class Inventory:
    """The GPUs that may be leased; `source` is `declared` where the operator's word is all there is.

    `driver` is the driver's version, `reason` says why there are no GPUs or fewer than the machine has.
    """

    gpus: tuple[Gpu, ...]
    source: Literal["nvml", "declared", "none"]
    driver: str | None
    reason: str


class GpuLease:
    """GPUs that are ours until `release` or the end of this process; also a context manager."""

    def __init__(self, indices: tuple[int, ...], held: Sequence[locks.Lock]) -> None:
        self.indices = indices
        self._held = held

    def filenos(self) -> tuple[int, ...]:
        """The locks' descriptors, for `ProcessTree.start(held=...)`."""
        return tuple(lock.fileno() for lock in self._held)

    def release(self) -> None:
        """Give all of them back. Idempotent."""
        for lock in self._held:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def discover(declared: int | None, environ: Mapping[str, str] = os.environ) -> Inventory:
    """Return the GPUs that may be leased here.

    `declared` is the operator's `gpus: N`: the inventory where there is no driver, an upper limit where there
    is one. A `CUDA_VISIBLE_DEVICES` in `environ` (indices or UUIDs, set by a scheduler) limits it too.
    """
    inventory = _from_driver()
    if inventory.source == "none" and declared is not None:
        gpus = tuple(Gpu(index, f"declared-{index}", "declared", 0) for index in range(declared))
        inventory = Inventory(gpus, "declared", None, f"declared by the operator; {inventory.reason}")
    return _limited(inventory, declared, environ.get("CUDA_VISIBLE_DEVICES"))


def lease_gpus(
    folder: Path, inventory: Inventory, *, owner: str, count: int, wanted: Sequence[int] | None = None
) -> GpuLease:
    """Lease `count` GPUs, all or none: exactly `wanted` (indices), else those with the lowest numbers.

    `folder` holds the lock files of this machine. `owner` is what others are told (a job id).
    Raises GpuUnavailable, which names who holds which.
    """
    candidates = _candidates(inventory, count, wanted)
    owner = f"{owner} (pid {os.getpid()})"
    holders: dict[int, str] = {}
    with contextlib.ExitStack() as undo:
        undo.callback(_turn(folder, owner).release)  # one chooses at a time, or two could each take half
        taken: dict[int, locks.Lock] = {}
        for gpu in candidates:
            if len(taken) == count:
                break
            try:
                taken[gpu.index] = locks.take(folder / f"gpu-{gpu.uuid}.lock", owner)
            except locks.Held as held:
                holders[gpu.index] = held.owner
        if len(taken) == count:
            return GpuLease(tuple(taken), tuple(taken.values()))
        for lock in taken.values():
            lock.release()
    raise GpuUnavailable(_shortage(count, wanted, len(candidates), holders), hint="wait until they are released")


def holders(folder: Path, inventory: Inventory, *, owner: str) -> dict[int, str] | None:
    """Who holds which GPU at this moment, by index; None while somebody chooses. Disturbs nobody who does later."""
    try:
        turn = locks.take(folder / "choosing.lock", owner)
    except locks.Held:
        return None
    held: dict[int, str] = {}
    try:
        for gpu in inventory.gpus:
            try:
                locks.take(folder / f"gpu-{gpu.uuid}.lock", owner).release()
            except locks.Held as lease:
                held[gpu.index] = lease.owner
    finally:
        turn.release()
    return held


def memory_used(indices: Sequence[int]) -> dict[int, int] | None:
    """Return the bytes in use on each GPU, by whatever process; None without a driver."""
    try:
        with _nvml():
            return {
                index: int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index)).used)
                for index in indices
            }
    except pynvml.NVMLError:
        return None


def visible_devices(indices: Sequence[int]) -> str:
    """Return the value of `CUDA_VISIBLE_DEVICES`; empty hides every GPU."""
    return ",".join(map(str, indices))


@contextlib.contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _from_driver() -> Inventory:
    try:
        with _nvml():
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            read = [_read(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return Inventory((), "none", None, f"no usable NVIDIA driver: {error}")
    faults = [item for item in read if isinstance(item, str)]
    return Inventory(tuple(item for item in read if isinstance(item, Gpu)), "nvml", driver, "; ".join(faults))


def _read(index: int) -> Gpu | str:
    """One GPU, or why it cannot be used: one that fell off the bus must not hide the others."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        total = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        return Gpu(index, str(pynvml.nvmlDeviceGetUUID(handle)), str(pynvml.nvmlDeviceGetName(handle)), total)
    except pynvml.NVMLError as error:
        return f"GPU {index}: {error}"


def _limited(inventory: Inventory, declared: int | None, visible: str | None) -> Inventory:
    gpus, reasons = inventory.gpus, [inventory.reason] if inventory.reason else []
    if visible is not None:
        gpus = _visible(gpus, visible)
        reasons.append(f"CUDA_VISIBLE_DEVICES={visible!r} leaves {len(gpus)} of {len(inventory.gpus)}")
    if declared is not None and declared != len(gpus) and inventory.source == "nvml":
        reasons.append(f"{declared} declared by the operator, {len(gpus)} here")
        gpus = gpus[:declared]
    return Inventory(gpus, inventory.source, inventory.driver, "; ".join(reasons))


def _visible(gpus: tuple[Gpu, ...], text: str) -> tuple[Gpu, ...]:
    """Read the list as CUDA does: up to the first entry that names no GPU; a UUID may be cut short."""
    found: list[Gpu] = []
    for entry in map(str.strip, text.split(",")):
        match = next((gpu for gpu in gpus if entry and _names(entry, gpu)), None)
        if match is None or match in found:
            break
        found.append(match)
    return tuple(found)


def _names(entry: str, gpu: Gpu) -> bool:
    return entry == str(gpu.index) if entry.isdigit() else gpu.uuid.startswith(entry)


def _candidates(inventory: Inventory, count: int, wanted: Sequence[int] | None) -> Sequence[Gpu]:
    here = {gpu.index: gpu for gpu in inventory.gpus}
    numbers = ", ".join(map(str, here)) or "none"
    because = f" ({inventory.reason})" if inventory.reason else ""
    if wanted is None:
        if count > len(here):
            raise GpuUnavailable(
                f"{count} GPUs asked for, {len(here)} here{because}",
                hint="ask for fewer, or declare `gpus: N`",
            )
        return inventory.gpus
    if absent := [index for index in wanted if index not in here]:
        raise GpuUnavailable(f"no GPU {absent[0]} here: there are {numbers}{because}", hint="name others")
    if len(set(wanted)) != len(wanted) or len(wanted) != count:
        raise GpuUnavailable(
            f"{count} GPUs are needed, but {list(wanted)} are named",
            hint="name each once, as many as are needed",
        )
    return [here[index] for index in wanted]


def _turn(folder: Path, owner: str) -> locks.Lock:
    try:
        return locks.take(folder / "choosing.lock", owner, patience=_TURN)
    except locks.Held as held:
        raise GpuUnavailable(
            f"{held.owner} has been choosing GPUs for {_TURN:.0f} s",
            hint="see whether it hangs, then try again",
        ) from None


def _shortage(count: int, wanted: Sequence[int] | None, candidates: int, holders: dict[int, str]) -> str:
    asked = f"GPUs {list(wanted)}" if wanted else f"{count} of {candidates} GPUs"
    return f"{asked} asked for; leased: " + ", ".join(f"{index} by {who}" for index, who in holders.items())
