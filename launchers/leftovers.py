"""What a server leaves behind outside its working folder: a place of its own for temporary files, and the rest by name.

Engines put sockets and shared memory into /tmp and /dev/shm and leave them there after an abnormal end. A
temporary folder of its own lets most of it go with the replica; an engine names what it puts elsewhere
(`Engine.leftovers`).
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_SOCKET_PATH = 107
"""Bytes that the path of a unix socket may have."""
_LONGEST_NAME = 45
"""Of what engines and multiprocessing put below their temporary folder: `/` and a UUID, or `pymp-xxx/listener-xxx`."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed after a server, and what could not be."""

    paths: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def temporary_folder(folder: Path) -> Path:
    """The temporary folder of the replica that works in `folder`: in there, or where its sockets' paths are short."""
    own = folder / "tmp"
    if len(bytes(own)) + _LONGEST_NAME <= _SOCKET_PATH:
        return own
    return Path(tempfile.gettempdir()) / f"orchestrator-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"


def temporary_variables(folder: Path) -> Mapping[str, str]:
    """The variables that lead a process to its temporary folder."""
    # Kernels compiled by torch are worth keeping: by default they lie in the temporary folder too.
    compiled = Path(tempfile.gettempdir()) / "torchinductor"
    return {"TMPDIR": str(temporary_folder(folder)), "TORCHINDUCTOR_CACHE_DIR": str(compiled)}


def remove(paths: Iterable[Path], folder: Path) -> Removed:
    """Remove `paths` and the replica's temporary folder, once nothing of the replica runs any more. Never raises."""
    own = temporary_folder(folder)
    inside = sorted(own.iterdir()) if own.is_dir() else []
    outcome = {str(path): _remove(path) for path in (*sorted(paths), *inside)}
    if own.is_dir() and all(outcome.values()):
        _remove(own)
    return Removed(
        tuple(path for path, gone in outcome.items() if gone),
        tuple(path for path, gone in outcome.items() if not gone),
    )


def _remove(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
