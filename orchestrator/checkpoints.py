"""Checkpoints that a training run writes: which folders hold a whole one, and what tells one from another."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
LARGEST_HEADER = 100_000_000
"""Bytes; the format allows no more."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """When a checkpoint counts as whole."""

    settle: float = 10.0
    """Seconds since the last write to any of its files."""
    marker: str | None = None
    """Name of a file that the training run writes last; then it alone decides."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a whole model."""

    path: Path
    key: str
    """Of its path, and of size and time of its weights: what is written anew in its place is another one."""


def whole_checkpoints(folder: Path, rule: Completeness, now: float | None = None) -> list[Checkpoint]:
    """Those directly below `folder` that are whole, the oldest first. `now`: seconds since the epoch."""
    moment = time.time() if now is None else now
    found = [path for path in folder.iterdir() if path.is_dir() and lacking(path, rule, moment) is None]
    return [
        Checkpoint(path.resolve(), _key(path)) for path in sorted(found, key=lambda path: (_changed(path), path.name))
    ]


def lacking(path: Path, rule: Completeness, now: float) -> str | None:
    """What a checkpoint still lacks, None when it is whole."""
    if rule.marker:
        return None if (path / rule.marker).exists() else f"no {rule.marker}"
    files = list(_files(path))
    weights = [file for file in files if file.suffix in WEIGHTS]
    if not weights:
        return "no weights"
    if not (path / "config.json").exists() and all(file.suffix != ".gguf" for file in weights):
        return "no config.json"
    if young := [file.name for file in files if now - file.stat().st_mtime < rule.settle]:
        return f"{young[0]} was written less than {rule.settle:g} s ago"
    return _missing_shard(path) or next((why for file in weights if (why := _cut(file))), None)


def _files(path: Path) -> Iterator[Path]:
    yield from (file for file in sorted(path.rglob("*")) if file.is_file())


def _changed(path: Path) -> float:
    return max((file.stat().st_mtime for file in _files(path)), default=0.0)


def _missing_shard(path: Path) -> str | None:
    for index in INDEXES:
        if (file := path / index).exists():
            try:
                shards = set(json.loads(file.read_text())["weight_map"].values())
            except (ValueError, KeyError, AttributeError):
                return f"{index} is not whole"
            if missing := sorted(shard for shard in shards if not (path / shard).is_file()):
                return f"no {missing[0]}"
    return None


def _cut(file: Path) -> str | None:
    """Whether a safetensors file is shorter than its header says; other formats do not tell."""
    if file.suffix != ".safetensors":
        return None
    with file.open("rb") as reading:
        prefix = reading.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else LARGEST_HEADER + 1
        try:
            header = json.loads(reading.read(length)) if length <= LARGEST_HEADER else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        return f"{file.name} has no header"
    end = max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)
    return None if file.stat().st_size == 8 + length + end else f"{file.name} is not whole"


def _key(path: Path) -> str:
    """No content: parts of it can be equal in two steps (frozen weights), and all of it takes minutes to read."""
    digest = hashlib.sha256(str(path.resolve()).encode())
    for file in _files(path):
        if file.suffix in WEIGHTS:
            facts = file.stat()
            digest.update(f"\0{file.relative_to(path)}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]
