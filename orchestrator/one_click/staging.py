"""Where OpenCompass reads a config: its own place, or one in which what it imports is found.

Configs of the documents say `from .datasets.gsm8k... import ...`, which holds in OpenCompass's own `configs/` folder
and nowhere else. A config that lies elsewhere is copied, byte for byte, into a folder of ours, beside links to its
neighbours and to those folders of the installed package that it misses.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestrator.evaluators.opencompass.parsing import parsed

_SHIPPED = ("datasets", "models", "summarizers", "chatml_datasets", "dataset_collections")


@dataclass(frozen=True, slots=True)
class Placed:
    """A config file to read."""

    file: Path
    shipped: tuple[str, ...]
    """Relative imports that are taken from the installed OpenCompass, e.g. `.datasets`."""


def place(file: Path, package: Path, staged: Path) -> Placed:
    """`file` itself when all its relative imports are beside it, else a copy below `staged` where they are."""
    missing = sorted(set(_missing(file, package)))
    if not missing:
        return Placed(file, ())
    return Placed(_copied(file, missing, package, staged), tuple("." * level + name for level, name in missing))


def _missing(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """(dots, first part) of imports that are not beside the file but in the package."""
    for node in _relative_imports(file):
        name = (node.module or "").split(".")[0]
        here = _above(file, node.level) / name
        if name in _SHIPPED and not here.exists() and (package / "configs" / name).is_dir() and node.level <= 2:
            yield node.level, name


def _relative_imports(file: Path) -> Iterator[ast.ImportFrom]:
    try:
        tree = parsed(file.read_bytes())
    except (OSError, SyntaxError):
        return  # said by the interpreter that reads it
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level)


def _above(file: Path, level: int) -> Path:
    """The folder that `level` dots mean in `file`."""
    return file.parents[min(level, len(file.parents)) - 1]


def _copied(file: Path, missing: list[tuple[int, str]], package: Path, staged: Path) -> Path:
    content = file.read_bytes()
    digest = sha256(b"\0".join([content, bytes(file), bytes(package)])).hexdigest()[:12]
    folder = staged / digest / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    for neighbour in file.parent.iterdir():
        if neighbour != file:
            _link(folder / neighbour.name, neighbour)
    for node in _relative_imports(file):
        name = (node.module or "").split(".")[0]
        if node.level == 2 and (beside := _beside(_above(file, 2), name)):
            _link(folder.parent / beside.name, beside)
    for level, name in missing:
        _link(_above(folder / file.name, level) / name, package / "configs" / name)
    copy = folder / file.name
    if not copy.is_file():
        written = folder / f".{os.getpid()}"
        written.write_bytes(content)
        written.replace(copy)  # whole or not there, for whoever reads the same config now
    return copy.resolve()


def _beside(folder: Path, name: str) -> Path | None:
    places = (folder / name, folder / f"{name}.py")
    return next((place for place in places if name and place.exists()), None)


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink() and not link.exists():
        link.symlink_to(target)
