"""The shim alone, spoken to through its pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launchers import shim

STUBBORN = [sys.executable, "-I", "-S", str(Path(__file__).with_name("stubborn.py"))]


class Spoken:
    """A shim under test and its two pipes."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", shim.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.control, self.status = self.process.stdin, self.process.stdout

    def say(self, message: dict[str, Any]) -> None:
        self.control.write(json.dumps(message).encode() + b"\n")

    def begin(self, argv: list[str], **more: object) -> None:
        cwd = str(self.log.parent)
        self.say({"argv": argv, "env": {"A": "b"}, "cwd": cwd, "eof_grace": 0.3, "held": [], "scratch": None, **more})

    def hear(self, timeout: float = 10.0) -> dict[str, Any]:
        assert select.select([self.status], [], [], timeout)[0], "the shim said nothing"
        line = b""
        while not line.endswith(b"\n"):
            piece = self.status.read(1)
            assert piece, f"the shim ended after {line!r}"
            line += piece
        return dict(json.loads(line))


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[Spoken]:
    it = Spoken(tmp_path)
    yield it
    for pid in shim.descendants(it.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    it.process.kill()
    it.process.wait()
    it.control.close()
    it.status.close()


def until(condition: Callable[[], bool], bound: float = 5.0) -> float:
    """Wait for a condition; return the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < bound, "it did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - began


def three(pidfile: Path) -> list[int]:
    until(lambda: pidfile.exists() and pidfile.read_text().count("\n") == 3)
    return [int(line) for line in pidfile.read_text().split()]


def living(pid: int) -> bool:
    stat = shim.stat_of(pid)
    return stat is not None and stat.living


def test_an_exit_code_is_reported_and_the_environment_is_exactly_the_given_one(spoken: Spoken) -> None:
    spoken.begin(["/bin/sh", "-c", "/usr/bin/env; exit 7"])
    assert spoken.hear()["event"] == "started"
    assert spoken.hear() == {"event": "exited", "code": 7}
    assert spoken.hear()["survivors"] == []
    assert spoken.process.wait(5) == 0
    names = {line.split("=")[0] for line in spoken.log.read_text().splitlines()}
    assert "A" in names
    assert names <= {"A", "PWD", "SHLVL", "_", "OLDPWD"}  # the shell's own


def test_a_signal_is_a_negative_exit_code(spoken: Spoken) -> None:
    spoken.begin(["/bin/sh", "-c", "kill -9 $$"])
    assert [spoken.hear()["event"], spoken.hear()] == ["started", {"event": "exited", "code": -9}]


def test_what_is_started_has_its_own_session_no_inherited_descriptor_and_default_signals(
    spoken: Spoken,
) -> None:
    text = (
        "import os, signal; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.getsid(0) == os.getpid(), "
        "[signal.getsignal(s) is signal.SIG_DFL for s in (signal.SIGTERM, signal.SIGHUP)], "
        "os.readlink('/proc/self/fd/0'))"
    )
    spoken.begin([sys.executable, "-I", "-S", "-c", text])
    spoken.hear()
    assert spoken.hear()["code"] == 0
    assert spoken.log.read_text() == "['0', '1', '2'] True [True, True] /dev/null\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "reason"),
    [
        (["no-such-command-here"], "/", "No such file or directory"),
        (["/etc/passwd"], "/", "Permission denied"),
        (["/bin/sh"], "/no/such/folder", "the working directory /no/such/folder is not there"),
    ],
)
def test_a_failed_start_is_reported_with_its_reason_and_written_to_the_log(
    spoken: Spoken, argv: list[str], cwd: str, reason: str
) -> None:
    spoken.begin(argv, cwd=cwd)
    told = spoken.hear()
    assert told["event"] == "start_failed"
    assert argv[0] in told["message"]
    assert reason in told["message"]
    assert spoken.process.wait(5) == 0
    assert told["message"] in spoken.log.read_text()


def test_a_script_whose_interpreter_is_missing_is_told_apart_from_a_missing_script(
    spoken: Spoken, tmp_path: Path
) -> None:
    script = tmp_path / "engine"
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)
    spoken.begin([str(script)])
    assert "exists, the interpreter that its first line names does not" in spoken.hear()["message"]


def test_signals_of_a_terminal_do_not_end_the_shim(spoken: Spoken) -> None:
    spoken.begin(["/bin/sleep", "60"])
    spoken.hear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        spoken.process.send_signal(number)
    spoken.say({"stop": 5})
    assert spoken.hear() == {"event": "exited", "code": -15}
    assert spoken.hear()["killed"] == []


def test_a_tree_that_obeys_sigterm_is_not_killed(spoken: Spoken, tmp_path: Path) -> None:
    spoken.begin([*STUBBORN, str(tmp_path / "pids"), "--obey"])
    pids = three(tmp_path / "pids")
    spoken.hear()
    spoken.say({"stop": 5})
    assert spoken.hear()["code"] == -15
    stopped = spoken.hear()
    assert stopped["killed"] == []
    assert sorted(stopped["signalled"]) == sorted(pids)
    assert not any(map(living, pids))


def test_three_stubborn_processes_are_killed_after_the_grace(spoken: Spoken, tmp_path: Path) -> None:
    spoken.begin([*STUBBORN, str(tmp_path / "pids")])
    pids = three(tmp_path / "pids")
    spoken.hear()
    began = time.monotonic()
    spoken.say({"stop": 0.3})
    assert spoken.hear()["code"] == -9
    stopped = spoken.hear()
    assert 0.3 <= time.monotonic() - began < 20
    assert sorted(stopped["killed"]) == sorted(pids)
    assert stopped["survivors"] == []
    assert not any(map(living, pids))


def test_a_shorter_grace_overrules_a_longer_one(spoken: Spoken, tmp_path: Path) -> None:
    spoken.begin([*STUBBORN, str(tmp_path / "pids")])
    three(tmp_path / "pids")
    spoken.hear()
    began = time.monotonic()
    spoken.say({"stop": 60})
    spoken.say({"stop": 0.1})
    spoken.say({"stop": 60})
    assert spoken.hear()["event"] == "exited"
    assert time.monotonic() - began < 20


def test_what_a_root_leaves_behind_is_killed_soon_after_it_exits(spoken: Spoken, tmp_path: Path) -> None:
    spoken.begin([*STUBBORN, str(tmp_path / "pids"), "--exit", "3"])
    pids = three(tmp_path / "pids")
    assert spoken.hear()["event"] == "started"
    assert spoken.hear() == {"event": "exited", "code": 3}
    stopped = spoken.hear()
    assert len(stopped["killed"]) == 2
    assert not any(map(living, pids))


def test_the_end_of_the_control_pipe_ends_the_tree(spoken: Spoken, tmp_path: Path) -> None:
    spoken.begin([*STUBBORN, str(tmp_path / "pids")])
    pids = three(tmp_path / "pids")
    spoken.control.close()
    spoken.status.close()  # nobody reads what it says either
    assert until(lambda: not any(map(living, pids))) < 2
    assert spoken.process.wait(20) == 0


@pytest.mark.parametrize("alone", [True, False])
def test_scratch_files_go_with_the_tree_when_the_runner_is_gone_and_are_the_runners_else(
    spoken: Spoken, tmp_path: Path, alone: bool
) -> None:
    (tmp_path / "scratch" / "sockets").mkdir(parents=True)
    (tmp_path / "scratch" / "sockets" / "one").touch()
    (tmp_path / "scratch" / "elsewhere").symlink_to(tmp_path / "kept", target_is_directory=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    spoken.begin([*STUBBORN, str(tmp_path / "pids")], scratch=str(tmp_path / "scratch"))
    pids = three(tmp_path / "pids")
    if alone:
        spoken.control.close()
    else:
        spoken.say({"stop": 0.1})
    assert spoken.process.wait(20) == 0
    assert not any(map(living, pids))
    assert (tmp_path / "scratch").exists() is not alone
    assert (tmp_path / "kept" / "file").exists(), "a link is removed, not what it leads to"


def test_a_stop_that_comes_together_with_the_request_is_obeyed(spoken: Spoken) -> None:
    request = {"argv": ["/bin/sleep", "60"], "env": {}, "cwd": "/", "eof_grace": 0.3, "held": [], "scratch": None}
    spoken.control.write((json.dumps(request) + "\n" + json.dumps({"stop": 5}) + "\n").encode())
    assert [spoken.hear()["event"], spoken.hear()["code"]] == ["started", -15]


def test_a_tree_that_keeps_forking_is_gone_after_stop(spoken: Spoken, tmp_path: Path) -> None:
    program = str(Path(__file__).with_name("forking.py"))
    spoken.begin([sys.executable, "-I", "-S", program, str(tmp_path / "pids")])
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().count("\n") > 20)
    spoken.say({"stop": 0})
    until(lambda: spoken.hear()["event"] == "stopped", 12)
    assert not any(living(int(line)) for line in (tmp_path / "pids").read_text().split())


def test_an_unread_status_pipe_does_not_hold_the_shim(tmp_path: Path) -> None:
    spoken = Spoken(tmp_path)
    spoken.begin(["/bin/true"])
    assert spoken.process.wait(10) == 0
    spoken.control.close()
    spoken.status.close()


def test_a_recycled_process_id_is_never_signalled() -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    try:
        stat = shim.stat_of(process.pid)
        assert stat is not None
        assert not shim.signal_exactly(process.pid, stat.start + 1, signal.SIGKILL)
        assert process.poll() is None
        assert shim.signal_exactly(process.pid, stat.start, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
