"""The fake engine's process tree and how it takes signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from orchestrator.fake_engine.faults import Processes


def fork_worker() -> int:
    """A child that only sleeps, as a tensor-parallel rank between requests. Returns its pid.

    It ends on SIGTERM; when the root crashes it stays, as the ranks of real engines do.
    """
    pid = os.fork()
    if pid == 0:
        _sleep_for_ever()
    return pid


def fork_detached_worker() -> int:
    """A grandchild in a session of its own that ignores SIGTERM. Returns its pid once that holds."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(writing, str(os.getpid()).encode())
        os.close(writing)
        _sleep_for_ever(ignoring_sigterm=True)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return int(pipe.read())


def end_workers(pids: Sequence[int]) -> None:
    """SIGTERM to each."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def take_signals(processes: Processes, workers: Sequence[int]) -> None:
    """SIGTERM and SIGINT end the workers and this process at once, unless `processes` says otherwise.

    The handlers write nothing: the process may be blocked on a full pipe.
    """

    def swallow(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, _ending(workers, 0))

    signal.signal(signal.SIGINT, _ending(workers, 130))
    if processes.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, swallow if processes.ignore_first_sigterm else _ending(workers, 0))


def _ending(workers: Sequence[int], code: int) -> Callable[[int, FrameType | None], None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        end_workers(workers)
        os._exit(code)

    return end


def _sleep_for_ever(*, ignoring_sigterm: bool = False) -> None:
    with suppress(OSError):  # only a name for `ps`
        Path("/proc/self/comm").write_text("fake-worker")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignoring_sigterm else signal.SIG_DFL)
    while True:
        signal.pause()
