"""Processes on this machine. They are no part of the service: it may be killed and started again while they run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Self

from orchestrator.errors import ExecutorRefused
from orchestrator.executors.base import Executor, Status, Task
from orchestrator.job_folder import is_owned, owner_of
from orchestrator.settings import Settings

REFILL = 0.5
"""Seconds without a submission after which the next spare processes are started: a burst is not slowed by them."""
REAP = 1.0
"""Seconds between two looks at which children ended."""
ATTEMPT = "orchestrator.attempt"


class LocalExecutor(Executor):
    """Starts processes in sessions of their own; knows them again by the lock on their folder.

    `service.spares` processes wait with everything imported, so that a job starts in milliseconds; they end with the
    service.
    """

    name: ClassVar[str] = "local"

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """As `Executor.open`."""
        tasks = settings.root / "executor"
        tasks.mkdir(parents=True, exist_ok=True)
        for record in tasks.iterdir():
            if not is_owned(Path(record.read_text()) / "owner.lock"):
                record.unlink()
        executor = cls(tasks, settings.service.spares)
        executor._refill()
        return executor

    def __init__(self, tasks: Path, spares: int) -> None:
        self._tasks = tasks
        self._wanted = spares
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._spares: list[subprocess.Popen[bytes]] = []
        self._refilling: asyncio.TimerHandle | None = None
        self._reaping: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """As `Executor.close`; the spare processes end."""
        for timer in (self._refilling, self._reaping):
            if timer:
                timer.cancel()
        for child in self._children.values():
            child.returncode = child.poll() or 0  # it is meant to outlive us: nobody will wait for it
        for spare in self._spares:
            if spare.stdin:
                spare.stdin.close()
        for spare in self._spares:
            await asyncio.to_thread(spare.wait)

    async def submit(self, task: Task) -> None:
        """As `Executor.submit`."""
        if await self.status(task) is not Status.GONE:
            return
        self._record(task).write_text(str(task.folder))
        try:
            self._children[task.key] = self._woken(task) or _started(task)
        except OSError as error:
            self._record(task).unlink(missing_ok=True)
            raise ExecutorRefused(f"{task.key} cannot be started: {error}") from error
        self._refill_after_the_burst()
        self._reap_later()

    async def status(self, task: Task) -> Status:
        """As `Executor.status`."""
        if is_owned(task.folder / "owner.lock"):
            return Status.RUNNING
        child = self._children.get(task.key)
        return Status.PENDING if child and child.poll() is None else Status.GONE

    async def cancel(self, task: Task) -> None:
        """As `Executor.cancel`, by SIGINT: SIGTERM is what a machine that goes down sends to everybody."""
        self._signal(task, signal.SIGINT)

    async def kill(self, task: Task) -> None:
        """As `Executor.kill`."""
        self._signal(task, signal.SIGKILL)

    async def list(self) -> dict[str, Status]:
        """As `Executor.list`."""
        found = {}
        for record in self._tasks.iterdir():
            child = self._children.get(record.name)
            if is_owned(Path(record.read_text()) / "owner.lock"):
                found[record.name] = Status.RUNNING
            elif child and child.poll() is None:
                found[record.name] = Status.PENDING
        return found

    def _record(self, task: Task) -> Path:
        return self._tasks / task.key

    def _signal(self, task: Task, number: signal.Signals) -> None:
        """To the process that owns the folder, which is not looked up by its name or its age."""
        lock = task.folder / "owner.lock"
        if (owner := owner_of(lock)) is None:
            if (child := self._children.get(task.key)) and child.poll() is None:
                child.send_signal(number)
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(owner)
            try:
                if owner_of(lock) == owner:  # still: the handle is not that of another with its number
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def _woken(self, task: Task) -> subprocess.Popen[bytes] | None:
        """A spare process at this task; None when there is none, or the task is not for one."""
        while self._spares and task.argv[0] == ATTEMPT:
            spare = self._spares.pop(0)
            try:
                if spare.stdin:
                    spare.stdin.write("\t".join(task.argv[1:]).encode() + b"\n")
                    spare.stdin.close()
            except OSError:  # it was killed
                spare.wait()
            else:
                return spare
        return None

    def _reap_later(self) -> None:
        if self._reaping is None and self._children:
            self._reaping = asyncio.get_running_loop().call_later(REAP, self._reap)

    def _reap(self) -> None:
        """Forget the children that ended: one that nobody waits for stays a zombie."""
        self._reaping = None
        for key in [key for key, child in self._children.items() if child.poll() is not None]:
            del self._children[key]
            (self._tasks / key).unlink(missing_ok=True)
        self._reap_later()

    def _refill_after_the_burst(self) -> None:
        if self._refilling:
            self._refilling.cancel()
        self._refilling = asyncio.get_running_loop().call_later(REFILL, self._refill)

    def _refill(self) -> None:
        self._spares = [spare for spare in self._spares if spare.poll() is None]
        while len(self._spares) < self._wanted:
            self._spares.append(_process((ATTEMPT, "--spare"), self._tasks.parent / "spare.log", subprocess.PIPE))


def _started(task: Task) -> subprocess.Popen[bytes]:
    return _process(task.argv, task.log, subprocess.DEVNULL)


def _process(argv: tuple[str, ...], log: Path, stdin: int) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            stdin=stdin,
            stdout=output,
            stderr=output,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # what a terminal sends to the service is not for it
        )
