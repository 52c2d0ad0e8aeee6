"""A private mark in the environment of everything that we start, found again by a scan of /proc. Linux only.

The shim (see `launchers.shim`) leaves nothing behind; the mark is for the day when the shim itself was
killed, and for a new runner that must be sure before it starts a job again. Marks look like
`<job id>/engine-0`; a mark that ends in `/` stands for every mark below it: `<job id>/` is the whole job.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from launchers import shim

VARIABLE = "ORCHESTRATOR_MARK"
"""The environment variable that carries the mark."""

_SCANS_TO_BE_SURE = 2  # a process in the middle of exec() shows an empty environment for a moment


@dataclass(frozen=True)
class Marked:
    """A living process that carries a mark; `start_time` in clock ticks since boot."""

    pid: int
    start_time: int
    cmdline: str


@dataclass(frozen=True)
class SweepReport:
    """Process ids that were killed, and those that were still alive when patience ended."""

    killed: tuple[int, ...]
    survivors: tuple[int, ...]


def environment(mark: str) -> dict[str, str]:
    """Return the variables that make a process findable by `mark`.

    `SPT_NOENV` keeps the library setproctitle (vLLM, SGLang, Ray use it) from writing its titles over the
    memory that /proc/PID/environ shows: with its default the mark was gone after the first title.
    """
    return {VARIABLE: mark, "SPT_NOENV": "1"}


def find(mark: str) -> list[Marked]:
    """Return the living processes of our own user that carry `mark`, the calling process excluded."""
    found = []
    for pid in shim.process_ids():
        if pid != os.getpid() and carries(pid, mark) and (stat := shim.stat_of(pid)) and stat.living:
            found.append(Marked(pid, stat.start, _cmdline(pid)))
    return found


def carries(pid: int, mark: str) -> bool:
    """Tell whether process `pid` carries `mark`; False too when it is gone or not ours to read."""
    end = b"" if mark.endswith("/") else b"\0"
    try:
        environ = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return b"\0" + f"{VARIABLE}={mark}".encode() + end in environ


def sweep(mark: str, *, patience: float) -> SweepReport:
    """SIGKILL everything that carries `mark` until nothing does, for `patience` seconds at most. Blocks.

    Each signal goes through a pidfd after start time and mark were read again, so that a process that got a
    recycled id is never hit. The calling process is never touched.
    """
    killed: set[int] = set()
    end = time.monotonic() + patience
    quiet = 0
    left: list[Marked] = []
    while quiet < _SCANS_TO_BE_SURE:
        left = find(mark)
        quiet = 0 if left else quiet + 1
        killed.update(process.pid for process in left if _kill(process, mark))
        if left and time.monotonic() > end:
            break
        time.sleep(0.01)
    return SweepReport(tuple(sorted(killed)), tuple(sorted(process.pid for process in left)))


def _kill(process: Marked, mark: str) -> bool:
    return carries(process.pid, mark) and shim.signal_exactly(process.pid, process.start_time, signal.SIGKILL)


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
