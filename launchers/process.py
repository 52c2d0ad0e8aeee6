"""A process tree that is started, watched and stopped with nothing left over. Linux only.

The tree hangs below a shim of its own (`launchers.shim`), which ends it even when this process is killed with
`kill -9`; what a killed shim would leave is found by its mark (`launchers.marker`). Output goes straight to a
file: nothing here can block on a pipe that nobody reads.

A child that this process forks without exec (multiprocessing's `fork` method) would keep the control pipe
open and so the tree alive: do not fork like that in a runner.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers import marker, shim
from launchers.errors import EngineFailed, StartFailed


@dataclass(frozen=True)
class StopReport:
    """How a tree ended: the teardown proof of its processes.

    `exit_code` is the root's (negative: minus the signal), None when the shim was killed before it could
    tell. `seen` are the processes alive when the stop began, `survivors` those that even SIGKILL did not
    end, `swept` those that only the mark found, `escalated` whether SIGKILL was needed.
    """

    exit_code: int | None
    seen: tuple[int, ...]
    survivors: tuple[int, ...]
    swept: tuple[int, ...]
    escalated: bool
    seconds: float


class ProcessTree:
    """A command and all of its descendants.

    `pid` is the root's, `started_at` in seconds since the epoch, `exit_code` None while the root runs.
    """

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        mark: str,
        eof_grace: float = 0.7,
        held: Sequence[int] = (),
        scratch: Path | None = None,
    ) -> ProcessTree:
        """Start `argv` in a session of its own, its output appended to `log`.

        Its environment is `env` and `marker.environment(mark)`, nothing inherited; no other living tree may
        have the same `mark`, for what carries it is killed when this one is stopped. When this process dies
        the tree gets SIGTERM, `eof_grace` seconds, then SIGKILL. `held` are descriptors of lease locks: the
        shim keeps them open, so a lease outlives a killed runner until its tree is gone. `scratch` is a folder
        that the caller removes after the end; when this process dies, the shim does.

        Raises StartFailed (the reason is in `log` too) when the command cannot be started.
        """
        if not argv:
            raise StartFailed("cannot start an empty command")
        tree = cls(_launch_shim(log, mark, held), mark)
        request = {
            "argv": list(argv),
            "env": {**env, **marker.environment(mark)},
            "cwd": str(cwd),
            "eof_grace": eof_grace,
            "held": list(held),
            "scratch": None if scratch is None else str(scratch),
        }
        try:
            await tree._begin(request)
        except BaseException:
            await tree.stop(0.0)
            raise
        return tree

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        """Take over a shim that waits for its request; `start` is the way in."""
        self.pid = 0
        self.started_at = time.time()
        self.exit_code: int | None = None
        self._mark = mark
        self._failure: str | None = None
        self._stopped: dict[str, Any] = {}
        self._answered = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopping: asyncio.Task[StopReport] | None = None
        self._shim = _Shim(process, self._on_event)

    @property
    def ended(self) -> bool:
        """Whether the root has ended, or nothing is known of it any more because the shim was killed."""
        return self._ended.is_set()

    async def wait(self) -> int:
        """Wait until the root ends and return its exit code (negative: minus the signal).

        Raises EngineFailed when the shim was killed: the root may still run then, and `stop` will find it.
        """
        await self._ended.wait()
        if self.exit_code is None:
            raise EngineFailed(
                f"the supervisor of process {self.pid} was killed: its exit code is unknown",
                hint="something here kills processes: look for the out-of-memory killer in `dmesg`",
            )
        return self.exit_code

    def pids(self) -> frozenset[int]:
        """Return the living processes of the tree. Reads /proc once or twice, a few milliseconds."""
        marked = {process.pid for process in marker.find(self._mark)} - {self._shim.pid}
        below = set() if self._shim.gone.is_set() else set(shim.descendants(self._shim.pid))
        return frozenset(marked | below)

    def owns(self, pid: int) -> bool:
        """Tell whether the living process `pid` belongs to the tree."""
        stat = shim.stat_of(pid)
        if stat is None or not stat.living or pid == self._shim.pid:
            return False
        return marker.carries(pid, self._mark) or self._descends(stat)

    async def stop(self, grace: float) -> StopReport:
        """End the tree: SIGTERM to the root, `grace` seconds for all of it, then SIGKILL until none is left.

        Once the root has ended, what it left behind gets SIGTERM and 5 of those seconds at most. Idempotent:
        every caller gets the same report; a later call with a shorter `grace` shortens the wait. A caller
        that is cancelled does not interrupt the stop, which then ends on its own.
        """
        if self._stopping is None:
            # Who is alive is read first: an obedient tree is gone a moment after the message.
            self._stopping = asyncio.create_task(self._stop(grace, self.pids()))
        self._shim.send({"stop": grace})
        return await asyncio.shield(self._stopping)

    async def _begin(self, request: dict[str, Any]) -> None:
        await self._shim.send_all(request)
        await self._answered.wait()
        if self._failure is not None:
            raise StartFailed(self._failure, hint="check the command, its working directory and PATH")

    def _on_event(self, event: str, data: dict[str, Any]) -> None:
        if event == "started":
            self.pid = data["pid"]
            self.started_at = time.time()
        elif event == "start_failed":
            self._failure = data["message"]
        elif event == "exited":
            self.exit_code = data["code"]
            self._ended.set()
        elif event == "stopped":
            self._stopped = data
        elif event == "gone":
            if not self.pid and self._failure is None:
                self._failure = "the supervisor ended before it could start the command: see the log"
            self._ended.set()
        self._answered.set()

    def _descends(self, stat: shim.Stat) -> bool:
        if self._shim.gone.is_set():
            return False
        parent: shim.Stat | None = stat
        while parent is not None and parent.parent > 1:
            if parent.parent == self._shim.pid:
                return True
            parent = shim.stat_of(parent.parent)
        return False

    async def _stop(self, grace: float, seen: frozenset[int]) -> StopReport:
        began = time.monotonic()
        await self._shim.end(grace + shim.KILL_BOUND + 2.0)
        swept = await asyncio.to_thread(marker.sweep, self._mark, patience=shim.KILL_BOUND)
        unkilled = {pid for pid in self._stopped.get("survivors", ()) if _living(pid)}
        return StopReport(
            exit_code=self.exit_code,
            seen=tuple(sorted(seen)),
            survivors=tuple(sorted(unkilled | set(swept.survivors))),
            swept=swept.killed,
            escalated=bool(self._stopped.get("killed") or swept.killed),
            seconds=time.monotonic() - began,
        )


class _Shim:
    """Our end of the two pipes of one shim; `gone` once it has ended and was reaped."""

    def __init__(self, process: subprocess.Popen[bytes], on_event: Callable[[str, dict[str, Any]], None]) -> None:
        assert process.stdin is not None  # both are pipes, see _launch_shim
        assert process.stdout is not None
        self.pid = process.pid
        self.gone = asyncio.Event()
        self._process = process
        self._control, self._status = process.stdin, process.stdout
        self._on_event = on_event
        self._rest = b""
        os.set_blocking(self._control.fileno(), False)
        os.set_blocking(self._status.fileno(), False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._status.fileno(), self._read)

    async def send_all(self, message: dict[str, Any]) -> None:
        """Write one line that may be larger than a pipe holds."""
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line and not self._control.closed:
            try:
                line = line[os.write(self._control.fileno(), line) :]
            except BlockingIOError:
                await asyncio.sleep(0.005)
            except OSError:  # it died: the end of its status pipe tells
                return

    def send(self, message: dict[str, Any]) -> None:
        """Write one short line; lost when the shim is gone or stuck, which `end` copes with."""
        if not self._control.closed:
            try:
                os.write(self._control.fileno(), json.dumps(message).encode() + b"\n")
            except OSError:
                return

    async def end(self, patience: float) -> None:
        """Wait until the shim has ended; one that has not after `patience` seconds is killed."""
        try:
            async with asyncio.timeout(patience):
                await self.gone.wait()
        except TimeoutError:
            self._process.kill()
            await self.gone.wait()

    def _read(self) -> None:
        chunk = os.read(self._status.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            data = json.loads(line)
            self._on_event(data.pop("event"), data)
        if not chunk:
            self._loop.remove_reader(self._status.fileno())
            self._status.close()
            self._control.close()
            self._reap()

    def _reap(self) -> None:
        """Its pipes close a moment before it can be waited for."""
        if self._process.poll() is None:
            self._loop.call_later(0.002, self._reap)
            return
        self.gone.set()
        self._on_event("gone", {})


def _launch_shim(log: Path, mark: str, held: Sequence[int]) -> subprocess.Popen[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__, mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                bufsize=0,
                start_new_session=True,  # a terminal's Ctrl-C is for the runner, which decides
                pass_fds=tuple(held),
            )
    except OSError as error:
        raise StartFailed(f"cannot start the supervisor of {mark}: {error}") from error


def _living(pid: int) -> bool:
    stat = shim.stat_of(pid)
    return stat is not None and stat.living
