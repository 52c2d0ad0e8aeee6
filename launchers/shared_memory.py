"""Shared memory of a process tree: what it uses, and what of it nobody uses any more.

Segments and semaphores of multiprocessing are files in /dev/shm with random names: which of them were a server's can
only be told while its processes live, from their memory maps (proc(5)). A server that ends by itself removes them; one
that is killed cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path("/dev/shm")
_LIMIT = 1 << 24
"""Bytes of a memory map that are read at most: thousands of lines are usual."""


def used_by(pids: Iterable[int]) -> frozenset[Path]:
    """The files of shared memory that these processes have mapped; of those that are gone or not ours, none."""
    return frozenset(path for pid in pids for path in _mapped(pid))


def unused(paths: frozenset[Path]) -> frozenset[Path]:
    """Those of `paths` that are there and that no process of this machine has mapped."""
    there = frozenset(path for path in paths if path.exists())
    if not there:
        return there
    living = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return there - used_by(living)


def _mapped(pid: int) -> set[Path]:
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            text = file.read(_LIMIT).decode(errors="replace")
    except OSError:
        return set()
    marker = f" {FOLDER}/"
    lines = (line for line in text.splitlines() if marker in line and not line.endswith(" (deleted)"))
    return {FOLDER / line.split(marker, 1)[1] for line in lines}
