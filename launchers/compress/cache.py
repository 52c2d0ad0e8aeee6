"""Models that were made before, found by the content of what they were made of.

root/
    demo-arithmetic-9b1c5a6b2d3e/          one produced model; appears whole, in one rename
        READY.json                         what it was made of, by what, and what it must look like
        model/                             what the tool produced
    .demo-arithmetic-9b1c5a6b2d3e.building the same while it is made; left by a killed process, removed by the next
    demo-arithmetic-9b1c5a6b2d3e.lock      held by whoever makes it, and by its processes
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from launchers.models import model_fingerprint

READY = "READY.json"
OUTPUT = "model"


@dataclass(frozen=True, slots=True)
class Produced:
    """A produced model and where it is from."""

    source: str
    source_fingerprint: str
    tool: str
    version: str | None
    scheme: str | None
    argv: list[list[str]]
    """The commands that made it."""
    produced: str
    """Path of the folder or file to serve."""
    produced_fingerprint: str
    seconds: float
    """How long it took, when it was made."""
    bytes_before: int
    bytes_after: int
    created: str
    """UTC, ISO 8601."""


class ModelCache:
    """The produced models under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def folder(self, key: str) -> Path:
        """Where the model of that key is, or will be."""
        return self.root / key

    def lock(self, key: str) -> Path:
        """The file that is locked while it is made."""
        return self.root / f"{key}.lock"

    def find(self, key: str) -> Produced | None:
        """The model of that key; None when there is none, or when it is not what it was when it was made."""
        folder = self.folder(key)
        try:
            ready = json.loads((folder / READY).read_bytes())
            found = Produced(**{**ready, "produced": str(folder / ready["produced"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if model_fingerprint(Path(found.produced)) == found.produced_fingerprint else None

    def scratch(self, key: str) -> Path:
        """An empty place to make it in; only for who holds the lock."""
        folder = self._scratch(key)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / OUTPUT).mkdir(parents=True)
        return folder

    def scratch_output(self, key: str) -> Path:
        """Where a tool puts what it makes, until it is whole."""
        return self._scratch(key) / OUTPUT

    def discard(self, key: str) -> None:
        """Remove what was begun; only for who holds the lock."""
        shutil.rmtree(self._scratch(key), ignore_errors=True)

    def publish(self, key: str, made: Produced) -> Produced:
        """Make what lies in the scratch place the model of that key, in one rename; `made.produced` lies in it."""
        scratch, folder = self._scratch(key), self.folder(key)
        relative = Path(made.produced).relative_to(scratch)
        with (scratch / READY).open("w") as file:
            json.dump({**asdict(made), "produced": str(relative)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)  # one that was damaged since
        scratch.rename(folder)
        found = self.find(key)
        assert found is not None  # it was written a moment ago, under the lock
        return found

    def _scratch(self, key: str) -> Path:
        return self.root / f".{key}.building"
