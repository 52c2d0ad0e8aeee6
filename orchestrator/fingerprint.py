"""The identity of what serves: two answers may stand for each other only when it is equal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation

_HASHED_WHOLE = 64 * 2**20
_NOT_IDENTITY = frozenset({"host", "port", "nccl_port", "gpus", "replicas", "startup_timeout", "stall_timeout"})


def serving_fingerprint(spec: ServeSpec, allocation: Allocation) -> str:
    """Engine, its environment, the model's files and every serving parameter that can change an answer."""
    parameters = spec.model_dump(mode="json", exclude=set(_NOT_IDENTITY))
    identity = {
        "engine": allocation.engine.name,
        "environment": allocation.environment.requirements_hash if allocation.environment else None,
        "model": model_fingerprint(Path(spec.model).expanduser()) if spec.model else None,
        "parameters": parameters,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def model_fingerprint(folder: Path) -> str | None:
    """Hash over the model's files: contents up to 64 MB each, name, size and time of the larger ones.

    None when there is no such folder (a hub id).
    """
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size}\n".encode())
        if status.st_size <= _HASHED_WHOLE:
            digest.update(path.read_bytes())
        else:
            digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()
