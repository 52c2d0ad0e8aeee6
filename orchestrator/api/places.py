"""Files of a job, and nothing else: opened one folder at a time, so that no `..` and no link leads out."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import NotFound

HIDDEN = frozenset({"assignment.json", "owner.lock"})
"""What is the service's own: the attempt's secret among it."""
LONGEST = 4096


def open_below(folder: Path, path: str) -> int:
    """A descriptor of the regular file `path` below `folder`, to be closed by the caller.

    Every part is opened relative to the one before it and without following links: what is renamed meanwhile changes
    nothing. Raises: NotFound for whatever is not a plain file there, or not to be shown.
    """
    parts = path.split("/")
    missing = NotFound(f"no file `{path}`", hint="the list of artifacts names them")
    if len(path) > LONGEST or any(not _is_name(part) for part in parts):
        raise missing
    with contextlib.ExitStack() as opened:
        try:
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, place)
            for part in parts[:-1]:
                place = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=place)
                opened.callback(os.close, place)
            # Without O_NONBLOCK a named pipe would hold the request for ever.
            file = os.open(parts[-1], _STEP | os.O_NONBLOCK, dir_fd=place)
        except OSError:
            raise missing from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise missing
    return file


def files_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path and facts of every file that `open_below` opens, sorted by path; none where `folder` itself is a link."""
    if folder.is_symlink():
        return
    for directory, names, files in os.walk(folder, followlinks=False):
        names[:] = sorted(name for name in names if _is_name(name))
        for file in sorted(name for name in files if _is_name(name)):
            path = Path(directory, file)
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    yield str(path.relative_to(folder)), facts


_STEP = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def _is_name(part: str) -> bool:
    # A name that is not UTF-8 can stand neither in a URL nor in JSON.
    return part not in HIDDEN and not part.startswith(".") and part != "" and "\0" not in part and _is_utf8(part)


def _is_utf8(part: str) -> bool:
    return part.encode("utf-8", "replace").decode() == part
