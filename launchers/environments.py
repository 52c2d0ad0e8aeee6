"""Isolated environments: one folder per engine or evaluator, whose dependencies nothing else shares.

root/
    transformers-1f0c5a6b2d3e/     one build: a virtual environment, named by the hash of its requirements
        READY.json                 written last: a build without it does not exist
    transformers -> transformers-1f0c5a6b2d3e
    lightllm-adopted/              an environment that somebody else made: only READY.json, which names its interpreter
    lightllm -> lightllm-adopted
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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from launchers.building import Build, ask_packages, build, check, packages_of
from launchers.errors import InstallFailed

READY = "READY.json"
PINNED = "pinned"
"""In place of a version: the one whose every package the orchestrator pins."""
Report = Callable[[str], None]
"""Takes one short line of progress at a time."""

_UNITS = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_OVERHEAD = 1.5  # room for the downloads and unpacking beside the installed size


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an isolated environment is made of."""

    name: str
    """Name of the engine or evaluator, and of the folder."""
    requirements: Path | None
    """Requirements file, fully pinned; None for what cannot be installed from a package index."""
    check: str
    """Python code that must run in the environment, e.g. `import transformers`."""
    size: str
    """Disk space that it takes, for people: "1.2 GB"."""
    time: str
    """How long it takes to install, for people: "1 to 3 minutes"."""
    distribution: str = ""
    """Name of the package whose version is the engine's; default: `name`."""
    no_deps: bool = False
    """The file names every package there is to install; what they require themselves is not looked at."""
    note: str = ""
    """What to know before installing it here, one sentence."""
    by_hand: str = ""
    """How to install it where `requirements` is None."""
    other: str = ""
    """Requirements of a version that the user chooses, with `{version}`; empty: the pinned one is the only one."""
    chosen: str = ""
    """The version that the user chose; empty: the pinned one."""


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
    distribution: str = ""
    """Name of the package whose version is the engine's; default: `name`."""
    chosen: str = ""
    """The version that the user asked for; empty: the one that the orchestrator pins."""

    @property
    def version(self) -> str | None:
        """Version of the engine or evaluator itself."""
        return self.packages.get(re.sub(r"[-_.]+", "-", self.distribution or self.name).lower())


class Environments:
    """The isolated environments under one folder, which is created with the first of them."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, wanted: Recipe | str) -> Environment | None:
        """The installed environment, or None. Reads one small file.

        Of a recipe, the version that the user chose last, else one built from the requirements as they are now; of a
        name, whatever is installed.
        """
        if isinstance(wanted, str):
            return _read((self._root / wanted).resolve())
        if not wanted.chosen and (kept := _read(self._link(wanted.name).resolve())) and kept.chosen:
            return kept
        if wanted.requirements is None or self._link(wanted.name).resolve() == self._adopted(wanted.name):
            return _read(self._link(wanted.name).resolve())
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
        if recipe.requirements is None and self.find(recipe) is None:
            raise InstallFailed(f"{recipe.name} cannot be installed from a package index", hint=recipe.by_hand)
        found = self.find(recipe)
        if found is not None and self._link(recipe.name).resolve() == found.folder:
            return found
        self._root.mkdir(parents=True, exist_ok=True)
        with _locked(self._root / f"{recipe.name}.lock", recipe.name, report) as lock:
            found = self.find(recipe) or self._build(recipe, report, log, lock)
            _point(self._link(recipe.name), found.folder)
            self._remove_others(recipe.name, found.folder)
        return found

    def choose(self, recipe: Recipe, version: str) -> Recipe:
        """The recipe of another version, for `install`; from then on `find` of the usual recipe gives that version.

        What it needs beside the engine itself is resolved by pip. The version `pinned` is the usual one.

        Raises: InstallFailed where no other version can be chosen.
        """
        if version == PINNED:
            return replace(recipe, chosen=PINNED)
        if not recipe.other or not re.fullmatch(r"[\w.+!-]+", version):
            raise InstallFailed(
                f"version {version!r} of {recipe.name} cannot be installed by itself",
                hint=recipe.by_hand
                or f"install it into an environment of your own: orchestrator install {recipe.name} --python PATH",
            )
        self._root.mkdir(parents=True, exist_ok=True)
        requirements = self._root / f"{recipe.name}-{version}.txt"
        requirements.write_text(recipe.other.format(version=version) + "\n")
        return replace(recipe, requirements=requirements, no_deps=False, chosen=version)

    def adopt(self, recipe: Recipe, python: Path) -> Environment:
        """Use an environment that somebody else made, by its interpreter; nothing in it is changed, now or later.

        Raises: InstallFailed when the recipe's check fails in it.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        folder = self._adopted(recipe.name)
        with _locked(self._root / f"{recipe.name}.lock", recipe.name, lambda line: None):
            check(recipe.name, python, recipe.check)
            folder.mkdir(exist_ok=True)
            _finish(recipe, folder, python.absolute())
            _point(self._link(recipe.name), folder)
        found = _read(folder)
        if found is None:
            raise InstallFailed(f"the interpreter {python} of {recipe.name} is gone")
        return found

    def _build(self, recipe: Recipe, report: Report, log: Path, lock: int) -> Environment:
        assert recipe.requirements is not None  # install() refused
        folder = self._folder(recipe)
        shutil.rmtree(folder, ignore_errors=True)  # half-built: we hold the lock, so its builder is gone
        _room(self._root, recipe)
        try:
            build(Build(recipe.name, folder, recipe.requirements, recipe.check, log, lock, recipe.no_deps), report)
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

    def _adopted(self, name: str) -> Path:
        return self._root / f"{name}-adopted"


def _hash(recipe: Recipe) -> str:
    return hashlib.sha256(recipe.requirements.read_bytes() if recipe.requirements else b"").hexdigest()


def _read(folder: Path) -> Environment | None:
    """The environment in `folder`; None if there is none, or if its interpreter went away with an upgrade."""
    try:
        ready = json.loads((folder / READY).read_bytes())
        python = Path(ready.get("python") or folder / "bin" / "python")
        found = Environment(
            name=ready["name"],
            folder=folder,
            python=python,
            packages=ready["packages"],
            requirements_hash=ready["requirements_hash"],
            created=ready["created"],
            distribution=ready.get("distribution", ""),
            chosen=ready.get("chosen", ""),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if python.exists() else None


def _finish(recipe: Recipe, folder: Path, python: Path | None = None) -> None:
    """Write READY.json, whole or not at all; `python` is the interpreter of an adopted environment."""
    ready = {
        "name": recipe.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "requirements_hash": _hash(recipe),
        "distribution": recipe.distribution,
        "chosen": recipe.chosen if recipe.chosen != PINNED else "",
        "packages": ask_packages(python) if python else packages_of(folder),
        **({"python": str(python)} if python else {}),
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
