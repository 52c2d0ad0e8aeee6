"""Lease locks: `flock` on a file whose text names the owner. Linux; the folder must be on a local disk.

The kernel gives a lock back when its holder dies, however it dies; a file that stays behind means nothing.
None is ever removed: removing one that another process has just opened would let two hold "the same" lock.
The descriptor is closed at exec, so nothing that is started holds a lease by accident.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


class Held(Exception):
    """The lock is another's; `owner` is the text that it left, empty when it cannot be read."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner or "an unknown owner"


class Lock:
    """A lock that is ours until `release` or the end of this process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The locked descriptor: a process that inherits it holds the lock on after this one died."""
        return self._descriptor

    def release(self) -> None:
        """Give the lock back, whoever else has inherited it. Idempotent."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


def take(path: Path, owner: str, *, patience: float = 0.0) -> Lock:
    """Lock `path` for `owner` (one line: job id, process id), waiting `patience` seconds at most. May block.

    Raises Held when another holds it, or when the file is another user's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise Held(f"another user's file {path}") from error
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Held(_text(descriptor)) from None
        time.sleep(0.005)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, owner.encode(), 0)
    return Lock(path, descriptor)


def _text(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
