"""Packages that a scorer goes on without, scoring something else: an import whose failure is caught and kept quiet.

IFBench without `emoji` takes every answer to an instruction about emojis for a wrong one, LiveCodeBench without `pyext`
every program for one that does not compile; both then publish a score. So such a package counts as needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from orchestrator.evaluators.opencompass.classes import FOLDERS, file_of
from orchestrator.evaluators.opencompass.parsing import parsed

_HARMLESS = frozenset({"googleapiclient"})
"""Imports that are looked at again, loudly, by what uses them."""


@cache
def quietly_missed(kind: str, package: Path) -> frozenset[str]:
    """Top-level packages that the modules of an evaluator try to import and do without; installed ones too."""
    file = file_of(kind, package)
    return frozenset(name for part in _parts(file, package) for name in _guarded(part)) - _HARMLESS if file else _NONE


_NONE: frozenset[str] = frozenset()


def _parts(file: Path, package: Path) -> list[Path]:
    """A module and those that it imports from folders of single data sets, not from those that all share."""
    shared = {package / folder for folder in FOLDERS}
    found, waiting = [file], [file]
    while waiting:
        for part in _imported(waiting.pop(), package):
            if part not in found and part.is_file() and part.parent not in shared:
                found.append(part)
                waiting.append(part)
    return found


def _imported(file: Path, package: Path) -> Iterator[Path]:
    """Files of the package that a module may import, at its top or within functions."""
    for node in ast.walk(parsed(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (_file(package.parent, alias.name) for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and (node.level or _ours(node.module or "")):
            base = file.parents[node.level - 1] if node.level else package.parent
            whole = node.module or ""
            yield _file(base, whole)
            yield from (_file(base, f"{whole}.{alias.name}".strip(".")) for alias in node.names)


def _ours(module: str) -> bool:
    return module.startswith("opencompass.datasets.")


def _file(base: Path, module: str) -> Path:
    return base.joinpath(*module.split(".")).with_suffix(".py")


def _guarded(file: Path) -> Iterator[str]:
    for node in ast.walk(parsed(file.read_bytes())):
        if isinstance(node, ast.Try) and any(_quiet(handler) for handler in node.handlers):
            for inner in node.body:
                if isinstance(inner, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in inner.names)
                elif isinstance(inner, ast.ImportFrom) and inner.module and not inner.level:
                    yield inner.module.split(".")[0]


def _quiet(handler: ast.ExceptHandler) -> bool:
    """Whether it would catch a failed import and go on; one that tries another import is a choice, not a loss."""
    caught = ast.unparse(handler.type) if handler.type else "Exception"
    catches = any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))
    within = [inner for part in handler.body for inner in ast.walk(part)]
    return catches and not any(isinstance(inner, ast.Raise | ast.Import | ast.ImportFrom) for inner in within)
