"""Isolated environments: one folder per engine or evaluator, whose dependencies nothing else shares.

root/
    transformers-1f0c5a6b2d3e/     one build: a virtual environment, named by the hash of its requirements
        READY.json                 written last: a build without it does not exist
    transformers -> transformers-1f0c5a6b2d3e
    transformers.lock              held while building
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from launchers.building import Build, build, packages_of
from launchers.errors import InstallFailed

READY = "READY.json"
Report = Callable[[str], None]
"""Takes one short line of progress at a time."""

_UNITS = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_OVERHEAD = 1.5  # room for the downloads and unpacking beside the installed size


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an isolated environment is made of."""

    name: str
    """Name of the engine or evaluator, and of the folder."""
    requirements: Path
    """Requirements file, fully pinned."""
    check: str
    """Python code that must run in the environment, e.g. `import transformers`."""
    size: str
    """Disk space that it takes, for people: "1.2 GB"."""
    time: str
    """How long it takes to install, for people: "1 to 3 minutes"."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that is installed and passed its check."""

    name: str
    folder: Path
    """The build's own folder, which stays what it is when a newer one takes over the name."""
    python: Path
    """Its interpreter."""
    packages: Mapping[str, str]
    """Version of every installed package, by normalised name (`typing-extensions`)."""
    requirements_hash: str
    """SHA-256 of the requirements file, in hex."""
    created: str
    """When it was finished, UTC, ISO 8601."""


class Environments:
    """The isolated environments under one folder, which is created with the first of them."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, wanted: Recipe | str) -> Environment | None:
        """The installed environment, or None. Reads one small file.

        Of a recipe, one built from the requirements as they are now; of a name, whatever is installed.
        """
        if isinstance(wanted, str):
            return _read((self._root / wanted).resolve())
        found = _read(self._folder(wanted))
        return found if found and found.requirements_hash == _hash(wanted) else None

    def installed(self) -> list[Environment]:
        """Every environment that is in use by name, sorted by name."""
        links = (link for link in sorted(self._root.glob("*")) if link.is_symlink() and link.name[0] != ".")
        return [found for link in links if (found := _read(link.resolve())) is not None]

    def install(self, recipe: Recipe, *, report: Report, log: Path) -> Environment:
        """Build the environment of `recipe`, or reuse the one that is there; blocks for minutes.

        Every word of pip goes to `log`, short lines of progress to `report`. Builds of one name are
        serialised over all processes: who comes second waits, and then reuses.

        Raises: InstallFailed, with the last lines of the log and the command to repeat by hand.
        """
        found = self.find(recipe)
        if found is not None and self._link(recipe.name).resolve() == found.folder:
            return found
        self._root.mkdir(parents=True, exist_ok=True)
        with _locked(self._root / f"{recipe.name}.lock", recipe.name, report) as lock:
            found = self.find(recipe) or self._build(recipe, report, log, lock)
            _point(self._link(recipe.name), found.folder)
            self._remove_others(recipe.name, found.folder)
        return found

    def _build(self, recipe: Recipe, report: Report, log: Path, lock: int) -> Environment:
        folder = self._folder(recipe)
        shutil.rmtree(folder, ignore_errors=True)  # half-built: we hold the lock, so its builder is gone
        _room(self._root, recipe)
        try:
            build(Build(recipe.name, folder, recipe.requirements, recipe.check, log, lock), report)
            _finish(recipe, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        found = _read(folder)
        if found is None:
            raise InstallFailed(f"the new environment of {recipe.name} in {folder} cannot be read back")
        return found

    def _remove_others(self, name: str, kept: Path) -> None:
        """Older builds. One that still runs keeps what it has open, and fails on what it imports later."""
        pattern = re.compile(re.escape(name) + r"-[0-9a-f]{12}")
        for folder in self._root.iterdir():
            if pattern.fullmatch(folder.name) and folder != kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, recipe: Recipe) -> Path:
        return self._root / f"{recipe.name}-{_hash(recipe)[:12]}"

    def _link(self, name: str) -> Path:
        return self._root / name


def _hash(recipe: Recipe) -> str:
    return hashlib.sha256(recipe.requirements.read_bytes()).hexdigest()


def _read(folder: Path) -> Environment | None:
    """The environment in `folder`; None if there is none, or if its interpreter went away with an upgrade."""
    python = folder / "bin" / "python"
    try:
        ready = json.loads((folder / READY).read_bytes())
        found = Environment(
            name=ready["name"],
            folder=folder,
            python=python,
            packages=ready["packages"],
            requirements_hash=ready["requirements_hash"],
            created=ready["created"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if python.exists() else None


def _finish(recipe: Recipe, folder: Path) -> None:
    """Write READY.json, whole or not at all."""
    ready = {
        "name": recipe.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "requirements_hash": _hash(recipe),
        "packages": packages_of(folder),
    }
    unfinished = folder / f"{READY}.part"
    with unfinished.open("w") as file:
        json.dump(ready, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / READY)


def _point(link: Path, folder: Path) -> None:
    """Make `link` lead to `folder` in one step: readers see the old build or the new one."""
    fresh = link.with_name(f".{link.name}.link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.rename(link)


def _room(root: Path, recipe: Recipe) -> None:
    number, unit = recipe.size.split()
    needed = float(number) * _UNITS[unit] * _OVERHEAD
    free = shutil.disk_usage(root).free
    if free < needed:
        raise InstallFailed(
            f"{recipe.name} needs {needed / 1e9:.1f} GB of disk to install; {root} has {free / 1e9:.1f} GB",
            hint="free some space, or set ORCHESTRATOR_HOME to a folder on a larger disk",
        )


@contextmanager
def _locked(path: Path, name: str, report: Report) -> Iterator[int]:
    """Hold the lock file; yields its descriptor. Says so when it has to wait."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"{name} is being installed by another process; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
