"""The supervising shim: one small process between the runner and everything that it starts. Linux only.

Run as a program, by path, with nothing of the package imported: `python -I -S .../shim.py MARK` (the argument
is only there to be read in `ps`). Its standard input is the control pipe, its standard output the status
pipe, its standard error the log file of what it starts.

    control   {"argv", "env", "cwd", "eof_grace", "held", "scratch"}   first line: what to start
    (JSON     {"stop": seconds}       stop it; a later, shorter one shortens the wait
     lines)   end of file             the runner is gone: stop within `eof_grace`, then remove `scratch`
    status    started {pid} | start_failed {errno, message}
    (JSON     exited {code}                                 the root; negative: minus the signal
     lines)   stopped {signalled, killed, survivors}        last words; then the shim ends

It is a child subreaper: a descendant that leaves its session and its parent becomes a child of the shim, so
"no child left" means "nothing of the tree left". The functions below that read /proc serve the package too.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import time

ROOT_ENDED_GRACE = 1.0
"""Seconds that the rest of a tree gets after its root ended by itself."""
ORPHAN_GRACE = 5.0
"""Seconds at most that the rest of a tree gets after its root ended on request."""
KILL_BOUND = 10.0
"""Seconds during which SIGKILL is repeated before what is left is reported as survivors."""

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_MOST_PIDS_REPORTED = 1000  # keeps a report far below the capacity of a pipe


class Stat:
    """What /proc/PID/stat says: state letter, parent, process group, start time (clock ticks since boot)."""

    __slots__ = ("group", "parent", "start", "state")

    def __init__(self, state: str, parent: int, group: int, start: int) -> None:
        self.state, self.parent, self.group, self.start = state, parent, group, start

    @property
    def living(self) -> bool:
        """Neither a zombie nor already gone."""
        return self.state not in "ZX"


def stat_of(pid: int) -> Stat | None:
    """Return the state of process `pid`, None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs the shim 10 ms of start-up
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the command before it may hold blanks and brackets
    return Stat(chr(fields[0][0]), int(fields[1]), int(fields[2]), int(fields[19]))


def descendants(root: int) -> dict[int, Stat]:
    """Return every living descendant of `root` by pid, without `root` itself. One pass over /proc."""
    table = {pid: stat for pid in process_ids() if (stat := stat_of(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat.parent, []).append(pid)
    found: dict[int, Stat] = {}
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        found[pid] = table[pid]
        waiting.extend(child for child in children.get(pid, ()) if child not in found)
    return {pid: stat for pid, stat in found.items() if stat.living}


def process_ids() -> list[int]:
    """Return the ids of all processes that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - as above


def signal_exactly(pid: int, start: int, number: int) -> bool:
    """Send signal `number` to the process `pid` that began at `start`, to no other that got its id since.

    Returns whether it was sent. Kernels before 5.3 have no pidfd: there, check and signal are two steps.
    """
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        handle = -1
    try:
        stat = stat_of(pid)
        if stat is None or stat.start != start or not stat.living:
            return False
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
        return True
    except OSError:  # it has just ended, or it changed its user
        return False
    finally:
        if handle >= 0:
            os.close(handle)


def main() -> None:
    """Start what the first line of the control pipe asks for, and outlive all of it."""
    wake = _become_supervisor()
    control = Control()
    request = control.request()
    if request is None:
        return
    for handle in request.held:
        os.set_inheritable(handle, False)
    try:
        root = spawn(request.argv, request.env, request.cwd)
    except (OSError, ValueError) as error:
        message = f"cannot start {request.argv[0]!r}: {_reason(error, request.cwd)}"
        os.write(2, f"{message}\n".encode(errors="replace"))
        report("start_failed", errno=getattr(error, "errno", None), message=message)
        return
    report("started", pid=root)
    left = Supervisor(root, control, wake, request.eof_grace).run()
    if request.scratch is not None and not control.open and not left:
        os.execvp("rm", ["rm", "-rf", "--", request.scratch])


def _become_supervisor() -> int:
    """Ignore what a terminal or scheduler sends, adopt orphans; return a descriptor that wakes at SIGCHLD."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    os.set_blocking(1, False)  # a reader that stopped reading must not stop the shim
    return wake


class Request:
    """What to start, decoded from the first line of the control pipe."""

    def __init__(self, line: bytes) -> None:
        data = json.loads(line)
        self.argv: list[str] = data["argv"]
        self.env: dict[str, str] = data["env"]
        self.cwd: str = data["cwd"]
        self.eof_grace: float = data["eof_grace"]
        self.held: list[int] = data["held"]  # descriptors of leases, open as long as this process lives
        self.scratch: str | None = data["scratch"]  # a folder that the runner removes, and we when it is gone


class Control:
    """The control pipe on standard input; `open` turns False at its end."""

    def __init__(self) -> None:
        self.open = True
        self._lines: list[bytes] = []
        self._rest = b""

    def request(self) -> Request | None:
        """Wait for the first line, None when the pipe ended before it."""
        while self.open and not self._lines:
            self._read()
        return Request(self._lines.pop(0)) if self._lines else None

    def commands(self) -> list[bytes]:
        """Return the lines that came since, without waiting."""
        if self.open and select.select([0], [], [], 0)[0]:
            self._read()
        lines, self._lines = self._lines, []
        return lines

    def _read(self) -> None:
        try:
            chunk = os.read(0, 1 << 16)
        except OSError:
            chunk = b""
        self.open = chunk != b""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._lines += lines


def spawn(argv: list[str], env: dict[str, str], cwd: str) -> int:
    """Start `argv` in a session of its own, output to the shim's own standard error; return its pid.

    The command is looked up in the `PATH` of `env`. Raises OSError as exec does, ValueError for a NUL
    character.
    """
    os.chdir(cwd)
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    for path in _candidates(argv[0], env):
        try:
            return os.posix_spawn(
                path,
                argv,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),
                ],
                setsid=True,
                setsigmask=(),
                # what this process (or Python) ignores would else be ignored by all that it starts
                setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError) or os.path.exists(path):  # noqa: PTH110
                failure = error
    raise failure


def _candidates(command: str, env: dict[str, str]) -> list[str]:
    if "/" in command:
        return [command]
    return [os.path.join(folder, command) for folder in os.get_exec_path(env)]  # noqa: PTH118 - as above


def _reason(error: OSError | ValueError, cwd: str) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if not os.path.isdir(cwd):  # noqa: PTH112 - as above
        return f"the working directory {cwd} is not there"
    if error.errno == errno.ENOENT and error.filename is not None and os.path.exists(error.filename):  # noqa: PTH110
        return f"{error.filename} exists, the interpreter that its first line names does not"
    return error.strerror or str(error)


def report(event: str, **data: object) -> None:
    """Write one line to the status pipe; a reader that is gone or asleep loses it."""
    line = json.dumps({"event": event, **data}) + "\n"
    try:
        os.write(1, line.encode())
    except OSError:
        return


class Supervisor:
    """Lives as long as anything of the tree does."""

    def __init__(self, root: int, control: Control, wake: int, eof_grace: float) -> None:
        self.root, self.control, self.wake, self.eof_grace = root, control, wake, eof_grace
        self.ended = False
        self.deadline: float | None = None
        self.signalled: set[int] = set()
        self.killed: set[int] = set()

    def run(self) -> list[int]:
        """Watch, obey, and return when the tree is gone, or with what does not die of it."""
        while self.reap():
            self.obey()
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.kill()
                break
            self.sleep([self.wake, 0] if self.control.open else [self.wake], self.deadline)
        left = sorted(descendants(os.getpid()))
        report("stopped", signalled=_few(self.signalled), killed=_few(self.killed), survivors=_few(left))
        return left

    def reap(self) -> bool:
        """Collect the dead; tell whether anything is left of the tree."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.root:
                self.root_ended(os.waitstatus_to_exitcode(status))

    def root_ended(self, code: int) -> None:
        """Report it, and tell what it left behind to end: nobody else will."""
        self.ended = True
        report("exited", code=code)
        self.hurry(ROOT_ENDED_GRACE if self.deadline is None else ORPHAN_GRACE)
        for pid, stat in descendants(os.getpid()).items():
            self.send(pid, stat, signal.SIGTERM)

    def obey(self) -> None:
        """Carry out what came through the control pipe; its end is a command too."""
        was_open = self.control.open
        for line in self.control.commands():
            self.stop(float(json.loads(line)["stop"]))
        if was_open and not self.control.open:
            self.stop(self.eof_grace)

    def stop(self, grace: float) -> None:
        """Ask the root to end (it alone: it knows its workers) and let the tree have `grace` seconds."""
        if self.deadline is None and not self.ended:
            self.signalled.add(self.root)
            os.kill(self.root, signal.SIGTERM)  # not reaped yet, so the id is still its own
        self.hurry(grace)

    def hurry(self, grace: float) -> None:
        """Let the tree have `grace` seconds from now at most."""
        deadline = time.monotonic() + grace
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)

    def kill(self) -> None:
        """SIGKILL the group and every descendant, again and again: some may be forking meanwhile."""
        end = time.monotonic() + KILL_BOUND
        while self.reap() and time.monotonic() < end:
            left = descendants(os.getpid())
            self.kill_group({pid for pid, stat in left.items() if stat.group == self.root})
            for pid, stat in left.items():
                if self.send(pid, stat, signal.SIGKILL):
                    self.killed.add(pid)
            self.sleep([self.wake], time.monotonic() + 0.01)

    def kill_group(self, members: set[int]) -> None:
        """SIGKILL the root's process group at one blow, given the members that were seen."""
        if not members:
            return
        try:
            os.killpg(self.root, signal.SIGKILL)
        except OSError:  # it has just ended, or every member changed its user
            return
        self.signalled |= members
        self.killed |= members

    def send(self, pid: int, stat: Stat, number: int) -> bool:
        """Signal one descendant and remember it."""
        sent = signal_exactly(pid, stat.start, number)
        if sent:
            self.signalled.add(pid)
        return sent

    def sleep(self, sources: list[int], until: float | None) -> None:
        """Sleep until a child ends, a command comes, or `until` (monotonic seconds)."""
        timeout = None if until is None else max(0.0, until - time.monotonic())
        if self.wake in select.select(sources, [], [], timeout)[0]:
            os.read(self.wake, 1 << 12)


def _few(pids: set[int] | list[int]) -> list[int]:
    return sorted(pids)[:_MOST_PIDS_REPORTED]


if __name__ == "__main__":
    main()
