"""Which file of the installed package defines a class: found by reading, since importing OpenCompass takes 8 s."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_CLASS = re.compile(rb"^class (\w+)", re.MULTILINE)
FOLDERS = ("datasets", "openicl/icl_evaluator", "evaluator")
"""Where the package keeps classes of data sets and evaluators."""


def file_of(name: str, package: Path) -> Path | None:
    """The module that defines a class of data sets or evaluators; None when there is none."""
    return _files(package).get(name)


@cache
def code_of(name: str, package: Path) -> bytes | None:
    """Its source; None when there is none."""
    file = file_of(name, package)
    return file.read_bytes() if file else None


@cache
def _files(package: Path) -> dict[str, Path]:
    """All classes by name; of two with the same name the first, since configs name only one of them in practice."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for file in sorted((package / folder).rglob("*.py")):
            for name in _CLASS.findall(file.read_bytes()):
                found.setdefault(name.decode(), file)
    return found
