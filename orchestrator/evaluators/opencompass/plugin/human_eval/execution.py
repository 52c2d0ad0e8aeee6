"""One program of the model's in a process of its own.

Limits: no network where the kernel allows to take it away, CPU and wall time, memory, size of files, processes (as
another user where we are root, whom no such limit holds), an empty working folder, no environment.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrated.guard import without_network

MEMORY = 2 << 30
"""Bytes of address space."""
PROCESSES = 16
_NOBODY = 65534
_LOOK = 0.1
"""Seconds between two looks at the number of processes."""
_PROGRAM = "{prompt}{completion}\n{test}\ncheck({entry_point})\n"


def check_correctness(problem: dict[str, Any], completion: str, timeout: float) -> str:
    """`passed`, `timed out` or `failed: WHY`."""
    text = _PROGRAM.format(**{**problem, "completion": completion})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        reader, writer = os.pipe()
        try:
            return _run(text, timeout, folder, reader, writer)
        finally:
            os.close(reader)


def _run(text: str, timeout: float, folder: str, reader: int, writer: int) -> str:
    word = secrets.token_hex(8)
    argv = [sys.executable, str(Path(__file__)), word, str(writer), str(timeout)]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    try:
        if excess := _watched(process, text.encode(errors="replace"), timeout + 2):
            return excess
    finally:
        _end(process)
    said = os.read(reader, 4096).decode(errors="replace")
    if process.returncode == -signal.SIGXCPU:
        return "timed out"
    return "passed" if said == word else f"failed: {said or 'it ended before its tests did'}"


def _watched(process: subprocess.Popen[bytes], text: bytes, timeout: float) -> str:
    """Feed and wait; why it has to be ended, or nothing. The number of processes of root nobody else holds."""
    deadline = time.monotonic() + timeout
    given: bytes | None = text
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(given, timeout=_LOOK)
            return ""
        given = None  # what is left of it, communicate() has kept
        if _members(process.pid) > PROCESSES:
            return "failed: too many processes"
    return "timed out"


def _members(session: int) -> int:
    """Processes of a session."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            count += stat.read_text().rpartition(")")[2].split()[3] == str(session)
    return count


def _end(process: subprocess.Popen[bytes]) -> None:
    """The program and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _limit(timeout: float) -> None:
    without_network()
    # Two numbers: at the second one the kernel kills, and the signal of the first, which says why, is never sent.
    resource.setrlimit(resource.RLIMIT_CPU, (int(timeout) + 1, int(timeout) + 2))
    limits = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_FSIZE: 16 << 20,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))
    if os.getuid() == 0 and _library_is_open():
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


def _library_is_open() -> bool:
    """Whether another user can read the interpreter's library: one below a closed home folder cannot be imported."""
    os.seteuid(_NOBODY)
    try:
        with Path(os.__file__).open("rb"):
            return True
    except OSError:
        return False
    finally:
        os.seteuid(0)


def _main(word: str, fd: str, timeout: str) -> None:
    text = sys.stdin.buffer.read().decode()
    _limit(float(timeout))
    try:
        exec(compile(text, "program", "exec"), {"__name__": "__program__"})
    except BaseException as error:  # noqa: BLE001 - whatever the program raises, SystemExit included, it has failed
        word = f"{type(error).__name__}: {error}"[:1000]
    os.write(int(fd), word.encode())


if __name__ == "__main__":
    _main(*sys.argv[1:])
