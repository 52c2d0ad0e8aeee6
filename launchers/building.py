"""Building one isolated environment: a virtual environment, pip, and the check that it works."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from launchers.errors import InstallFailed

_TAIL = 15  # lines of the log in an error message
# Without compiling: 32 s instead of 58 s for the 1.2 GB of transformers on two cores, at 3 s more for the
# first import. The check imports what will be used, and so leaves it compiled. (A newer pip than the one that
# comes with Python gained 2 s, its own upgrade included: not worth a download.)
_PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile")
# "Processing" is what pip says instead for a package that is a file on this machine.
_COLLECTING = re.compile(r"Collecting ([\w.\-]+)|Processing (?:\S*/)?([\w.]+)-\d")
_DOWNLOADING = re.compile(r"\s*Downloading (\S+) \((.+ [MG]B)\)")
_COMPILING = re.compile(r"\s*Building wheel for ([\w.\-]+) .*started")
_UNPACKING = re.compile(r"Installing collected packages: (.*)")


@dataclass(frozen=True, slots=True)
class Build:
    """One environment to build."""

    name: str
    folder: Path
    """Where it goes; must not exist. It cannot be moved later."""
    requirements: Path
    check: str
    """Python code that must run in it."""
    log: Path
    """Gets every word of the commands; overwritten."""
    lock: int
    """Descriptor of a held lock. The commands inherit it: if this process is killed, nobody builds beside
    a pip that lives on."""
    no_deps: bool = False
    """The requirements are all that is to be installed."""


def build(what: Build, report: Callable[[str], None]) -> None:
    """Create the environment. What is in the folder after an error is the caller's to remove.

    Raises: InstallFailed, with the last lines of the log and the commands to repeat by hand.
    """
    what.log.parent.mkdir(parents=True, exist_ok=True)
    what.log.unlink(missing_ok=True)
    progress = _Progress(what.requirements, report)
    for (stage, argv), hear in zip(_stages(what), (_ignore, progress.hear, _ignore), strict=True):
        report(stage)
        code, tail = _run(argv, what, hear)
        if code != 0:
            raise InstallFailed(
                f"{what.name} could not be installed: {stage} ended with code {code}\n" + "\n".join(tail),
                hint=f"the whole log is {what.log}; to repeat it by hand: {_by_hand(what)}",
            )


def packages_of(folder: Path) -> dict[str, str]:
    """Version of every package in the environment, by normalised name."""
    libraries = [str(path) for path in (folder / "lib").glob("python*/site-packages")]
    found = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(): one.version for one in distributions(path=libraries)}
    return dict(sorted(found.items()))


def ask_packages(python: Path) -> dict[str, str]:
    """As `packages_of`, of the environment that `python` belongs to. Raises: InstallFailed."""
    code = (
        "import json, re; from importlib.metadata import distributions; "
        "print(json.dumps({re.sub('[-_.]+', '-', one.metadata['Name']).lower(): one.version for one in distributions()"
        " if one.metadata['Name']}))"
    )
    found: dict[str, str] = json.loads(_ask("its packages", python, code))
    return dict(sorted(found.items()))


def check(name: str, python: Path, code: str) -> None:
    """Run the check of a recipe in an environment that is not ours. Raises: InstallFailed with what it printed."""
    _ask(name, python, code)


def _ask(what: str, python: Path, code: str) -> str:
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InstallFailed(f"{python} cannot be run: {error}", hint="name the interpreter itself") from error
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[-_TAIL:])
        raise InstallFailed(f"{what} does not work with {python}:\n{tail}")
    return done.stdout


def _stages(what: Build) -> list[tuple[str, list[str]]]:
    """(what it is called, argv) of every command, in order."""
    # -I: neither PYTHON* variables nor the current folder nor the user's own packages reach in.
    python = [str(what.folder / "bin" / "python"), "-I", "-u"]
    no_deps = ["--no-deps"] if what.no_deps else []
    return [
        ("creating the environment", [sys.executable, "-I", "-m", "venv", str(what.folder)]),
        ("installing packages", [*python, *_PIP, *no_deps, "-r", str(what.requirements)]),
        ("checking that it works", [*python, "-c", what.check]),
    ]


def _by_hand(what: Build) -> str:
    return " && ".join(shlex.join(argv) for _, argv in _stages(what))


def _run(argv: Sequence[str], what: Build, hear: Callable[[str], None]) -> tuple[int, Sequence[str]]:
    """Run one command, its output to the log and to `hear` line by line. Returns its code and last lines."""
    tail: deque[str] = deque(maxlen=_TAIL)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON") and k != "VIRTUAL_ENV"}
    with (
        what.log.open("a") as log,
        subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=(what.lock,),
        ) as process,
    ):
        try:
            assert process.stdout is not None
            log.write(f"$ {shlex.join(argv)}\n")
            for line in process.stdout:
                log.write(line)
                log.flush()
                tail.append(line.rstrip())
                hear(line.rstrip())
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # pip and the compilers it started
            raise
    return process.returncode, tail


class _Progress:
    """Makes short reports of pip's lines."""

    def __init__(self, requirements: Path, report: Callable[[str], None]) -> None:
        lines = (line.strip() for line in requirements.read_text().splitlines())
        self._total = sum(1 for line in lines if line and not line.startswith("#"))
        self._collected = 0
        self._report = report

    def hear(self, line: str) -> None:
        """One line of pip."""
        if found := _COLLECTING.match(line):
            self._collected += 1
            of = f" of {self._total}" if self._collected <= self._total else ""
            self._report(f"package {self._collected}{of}: {found[1] or found[2]}")
        elif found := _DOWNLOADING.match(line):
            self._report(f"downloading {found[1]} ({found[2]})")
        elif found := _COMPILING.match(line):
            self._report(f"compiling {found[1]}")
        elif found := _UNPACKING.match(line):
            self._report(f"unpacking packages: {len(found[1].split(','))}")


def _ignore(_line: str) -> None:
    pass
