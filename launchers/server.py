"""One replica as a running process: started from a plan, watched, diagnosed, stopped with proof."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launchers import leftovers, shared_memory, shim
from launchers.diagnosis import diagnose
from launchers.engine import Engine, Launch, Place
from launchers.errors import EngineFailed, ForeignServer
from launchers.gpus import visible_devices
from launchers.ports import is_listening, listeners
from launchers.process import ProcessTree, StopReport
from launchers.scrub import scrubbed

TAIL_LINES = 40
LOOK_EVERY = 1.0
"""Seconds between two looks at the shared memory of a server that is checked."""
CAUSE_LINES = 300
"""Lines of the log that are searched for a cause: the tracebacks of several processes may follow it."""


@dataclass(frozen=True, slots=True)
class Command:
    """The exact command of a replica: enough to repeat it by hand."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Variables that we add to or set in the inherited environment."""
    cwd: Path

    def shell(self) -> str:
        """As one line for a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.env.items())]
        return f"cd {shlex.quote(str(self.cwd))} && {' '.join(['env', *variables])} {shlex.join(self.argv)}"


def command_of(launch: Launch, place: Place, spec_env: Mapping[str, str]) -> Command:
    """The command of one replica: the engine's variables, the leased GPUs, then the user's own variables."""
    # An empty value hides every GPU: a replica that leased none must not find one.
    gpus = {"CUDA_VISIBLE_DEVICES": visible_devices(place.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    own = leftovers.temporary_variables(place.folder)
    return Command(launch.argv, {**own, **launch.env, **gpus, **spec_env}, place.folder)


class Server:
    """A replica that is ours: a process tree, a log and a port."""

    def __init__(self, engine: Engine, command: Command, place: Place, tree: ProcessTree, log: Path) -> None:
        self.engine = engine
        self.command = command
        self.place = place
        self.tree = tree
        self.log = log
        self.removed = leftovers.Removed()
        """What was removed after the end: shared memory, sockets, temporary files."""
        self._checked = 0
        self._looked = -LOOK_EVERY
        self._shared: frozenset[Path] = frozenset()
        """Shared memory that its processes were seen to use."""

    @classmethod
    async def start(
        cls,
        engine: Engine,
        launch: Launch,
        command: Command,
        place: Place,
        *,
        log: Path,
        mark: str,
        held: Sequence[int] = (),
        secrets: Mapping[str, str] | None = None,
    ) -> Server:
        """Make the working folder and start the process; `held` are the descriptors of its leases.

        `secrets` replaces variables of the command for the process alone: what is shown or kept has the command's.

        Raises: StartFailed when the command does not exist or may not be run.
        """
        place.folder.mkdir(parents=True, exist_ok=True)
        scratch = leftovers.temporary_folder(place.folder)
        scratch.mkdir(mode=0o700, exist_ok=True)
        for name, target in launch.links.items():
            link = place.folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(target)
        env = scrubbed(os.environ, {**command.env, **(secrets or {})})
        try:
            tree = await ProcessTree.start(
                command.argv, env=env, cwd=place.folder, log=log, mark=mark, held=held, scratch=scratch
            )
        except BaseException:
            leftovers.remove((), place.folder)
            raise
        return cls(engine, command, place, tree, log)

    def check(self) -> None:
        """Nothing when the process lives, may still become ready, and nobody else answers on its port.

        Raises: EngineFailed when the process ended or its log says that it will never be ready, ForeignServer when
        the port is not ours.
        """
        if self.tree.ended:
            raise self.failure()
        self._check_log()
        self._look_at_shared_memory()
        if self.owns_listener() is False:
            raise ForeignServer(
                f"port {self.place.port} is answered by process {_pids(self.place.port)}, not by the engine we started;"
                " nothing of it was touched",
                hint="stop that server, or leave `port` out so that a free one is leased",
            )

    def progress(self) -> int:
        """A value that changes whenever the engine shows a sign of life: the size of its log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0

    def owns_listener(self) -> bool | None:
        """Whether the process that listens on the port is ours; None when nobody listens yet."""
        if not is_listening(self.place.port):
            return None
        pids = listeners(self.place.port)
        ours = bool(pids) and any(self.tree.owns(pid) for pid in pids)
        if not ours and not (is_listening(self.place.port) and self._root_lives()):
            return None  # it ended while we looked
        return ours

    def _root_lives(self) -> bool:
        stat = shim.stat_of(self.tree.pid)
        return stat is not None and stat.living

    def failure(self) -> EngineFailed:
        """Why the process ended, from its exit code and its log."""
        how = _ending(self.tree.exit_code)
        found = diagnose(self.tail(CAUSE_LINES), self.engine.name)
        if found:
            return EngineFailed(f"{self.engine.name} {how}: {found.message}", hint=found.hint, code=found.code)
        if self.tree.exit_code == -signal.SIGKILL:
            hint = f"the kernel does that when memory is short (`dmesg` tells), or somebody did; the log: {self.log}"
            return EngineFailed(f"{self.engine.name} {how}", hint=hint)
        return EngineFailed(f"{self.engine.name} {how}", hint=f"read the log: {self.log}")

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of the log."""
        return tail_of(self.log, lines)

    async def stop(self, grace: float | None = None) -> StopReport:
        """End the whole tree, then remove what it left elsewhere; `grace` defaults to what the engine needs."""
        self._shared |= shared_memory.used_by(self.tree.pids())
        report = await self.tree.stop(self.engine.stop_grace if grace is None else grace)
        if not report.survivors and not self.removed.paths:
            named = self.engine.leftovers(head_of(self.log)) | shared_memory.unused(self._shared)
            self.removed = leftovers.remove(named, self.place.folder)
        return report

    def _look_at_shared_memory(self) -> None:
        """Now and then: once a process is gone, nothing tells which segments were its own."""
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            self._shared |= shared_memory.used_by(self.tree.pids())

    def _check_log(self) -> None:
        """Some launchers live on after a failed load; their log is read again whenever it has grown."""
        size = self.progress()
        if size == self._checked:
            return
        self._checked = size
        found = self.engine.hopeless(self.tail(CAUSE_LINES))
        if found:
            cause = diagnose(self.tail(CAUSE_LINES), self.engine.name) or found
            also = f": {cause.message}" if cause is not found else ""
            raise EngineFailed(f"{found.message}{also}", hint=cause.hint, code=cause.code)


def tail_of(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file, at most 64 KB of it; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def head_of(log: Path) -> str:
    """The first 256 KB of a log file, where servers print their names; empty when there is none."""
    try:
        with log.open("rb") as file:
            return file.read(1 << 18).decode(errors="replace")
    except OSError:
        return ""


def _ending(code: int | None) -> str:
    if code is None:
        return "lost its supervisor: something here kills processes, look for the out-of-memory killer in `dmesg`"
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


def _pids(port: int) -> str:
    return ", ".join(map(str, sorted(listeners(port)))) or "(of another user)"
