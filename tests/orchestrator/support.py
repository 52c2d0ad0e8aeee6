"""The command line as a user runs it, a job on the fake engine, and what must be gone afterwards."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from launchers import locks, marker
from launchers.environments import Environments
from orchestrator.cli import main
from orchestrator.evaluators.registry import get_evaluator

PLUGIN = Path(__file__).parent / "plugin"
ROWS = Path(__file__).parents[2] / "eval_configs" / "data" / "demo_arithmetic" / "test.jsonl"
T = TypeVar("T")
FAKE = ["{python}", "-m", "orchestrator.fake_engine", "--port", "{port}", "--answers", str(ROWS)]


class Cli:
    """`orchestrator` with a home of its own, in processes of its own unless it is `here`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            **os.environ,
            "ORCHESTRATOR_HOME": str(home),
            "PYTHONPATH": str(PLUGIN),  # how the third-party evaluator is found
        }

    def start(self, *args: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-m", "orchestrator", *args], env=self.env, text=True, **pipes)

    def run(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def here(self, *args: str) -> subprocess.CompletedProcess[str]:
        """The same within this process, a second of processor time cheaper: for what only reads, shows or refuses."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["orchestrator", *args])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        return subprocess.CompletedProcess(args, int(ended.value.code or 0), *(_text(one) for one in (out, err)))

    def job(self, spec: Path, *args: str, timeout: float = 60) -> tuple[int, dict[str, Any]]:
        """Exit code and record of `run --json`."""
        done = self.run("run", str(spec), "--json", *args, timeout=timeout)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def interrupted(self, spec: Path, state: str, number: signal.Signals) -> tuple[int, dict[str, Any]]:
        """Exit code and record of a job that got a signal as soon as it was in `state`."""
        process = self.start("run", str(spec), "--json")
        self.wait_for_state(state)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert out, err
        return process.returncode, json.loads(out)

    def wait_for_state(self, state: str) -> Path:
        """Folder of the one job of this home, once it is in `state`."""

        def reached() -> Path | None:
            for record in self.home.glob("jobs/*/job.json"):
                if json.loads(record.read_text())["state"] == state:
                    return record.parent
            return None

        return wait_for(reached, f"a job in state {state}", timeout=120)

    def left(self) -> list[str]:
        """Processes of any job or deployment of this home, and port or GPU locks that somebody holds."""
        owners = [*self.home.glob("jobs/*"), *self.home.glob("deployments/*")]
        marks = [f"{owner.name}/" if owner.parent.name == "jobs" else _mark(owner) for owner in owners]
        processes = [process.cmdline for mark in marks for process in marker.find(mark)]
        return [*processes, *(str(lock) for lock in self.home.glob("leases/*/*.lock") if _is_held(lock))]


def install_straight(root: Path) -> Path:
    """`root` as a folder of environments with that of the evaluator `straight`, really installed."""
    recipe = get_evaluator("straight").recipe
    assert recipe
    Environments(root).install(recipe, report=lambda line: None, log=root / "install.log")
    return root


def _text(written: io.TextIOWrapper) -> str:
    written.seek(0)
    return written.read()


def _mark(deployment: Path) -> str:
    return str(json.loads((deployment / "deployment.json").read_text())["mark"]) + "/"


def wait_for(condition: Callable[[], T | None], what: str, timeout: float = 60) -> T:
    """The first true value of `condition`, asked until `timeout`."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} within {timeout} s"
        time.sleep(0.02)
    return found


def _is_held(lock: Path) -> bool:
    try:
        locks.take(lock, "test").release()
    except locks.Held:
        return True
    return False
