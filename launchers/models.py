"""Models as files: what they are by content, and how large."""

from __future__ import annotations

import hashlib
from pathlib import Path

_HASHED_WHOLE = 64 * 2**20


def model_fingerprint(model: Path) -> str | None:
    """Hash over a model's folder, or its one file: contents up to 64 MB each, name, size and time of the larger ones.

    None when there is no such path (a hub id).
    """
    files = model_files(model)
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        name = path.relative_to(model) if path != model else path.name
        digest.update(f"{name} {status.st_size}\n".encode())
        if status.st_size <= _HASHED_WHOLE:
            digest.update(path.read_bytes())
        else:
            digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()


def model_bytes(model: Path) -> int:
    """Size of all files of a model."""
    return sum(path.stat().st_size for path in model_files(model))


def model_files(model: Path) -> list[Path]:
    """The files of a model, sorted; the model itself when it is one file, empty when there is none."""
    if model.is_file():
        return [model]
    return sorted(path for path in model.rglob("*") if path.is_file()) if model.is_dir() else []
