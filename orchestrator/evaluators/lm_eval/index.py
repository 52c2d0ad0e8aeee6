"""Which tasks, groups and tags there are, by name: a tenth of the time of lm-eval's own index, and once."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from launchers.environments import Environment
from orchestrator.evaluators.lm_eval.files import read_head

OUR_TASKS = Path(__file__).parents[3] / "eval_configs" / "lm_eval"
"""Task files that come with us; their names win over lm-eval's."""

KEPT = "lm_eval-tasks.json"
"""File in the environment's folder that holds the index of the installed package."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for."""

    name: str
    kind: Literal["task", "group", "tag"]
    file: str
    """The file that defines it; empty for a tag, which many share."""
    members: tuple[str, ...] = ()
    """Names in a group or under a tag."""


Index = Mapping[str, Entry]


def package_of(environment: Environment) -> Path | None:
    """Folder of the `lm_eval` package in an environment; None when it is not there."""
    prefix = environment.python.parent.parent
    return next(iter(sorted(prefix.glob("lib/python*/site-packages/lm_eval"))), None)


def installed_index(environment: Environment) -> Index:
    """Every name of the installed lm-eval. Made once per environment and kept there."""
    package = package_of(environment)
    return _kept(package / "tasks", environment.folder / KEPT) if package else {}


def index_of(folder: Path) -> dict[str, Entry]:
    """Every name that the task files under `folder` define; of two of the same name the first file counts."""
    entries: dict[str, Entry] = {}
    tags: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.yaml")):
        with contextlib.suppress(OSError, ValueError):
            _add(read_head(file), file, entries, tags)
    return {**{tag: Entry(tag, "tag", "", tuple(names)) for tag, names in tags.items()}, **entries}


def _add(head: Mapping[str, Any], file: Path, entries: dict[str, Entry], tags: dict[str, list[str]]) -> None:
    group, task = head.get("group"), head.get("task")
    if isinstance(group, str) and "class" not in head:
        entries.setdefault(group, Entry(group, "group", str(file), tuple(members_of(task))))
    elif isinstance(task, str) and task not in entries:
        entries[task] = Entry(task, "task", str(file))
        for tag in _texts(head.get("tag")):
            tags.setdefault(tag, []).append(task)


def members_of(task: Any) -> Iterator[str]:
    """Names in the `task` list of a group, those of groups within it included."""
    for one in task if isinstance(task, list) else []:
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict) and isinstance(one.get("task"), list):
            yield from members_of(one["task"])
        elif isinstance(one, dict):
            yield from _texts(one.get("task") or one.get("group"))


def _texts(value: Any) -> Iterable[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


@cache
def _kept(folder: Path, file: Path) -> Index:
    return _read(file, folder) or _write(file, folder, index_of(folder))


def _read(file: Path, folder: Path) -> dict[str, Entry] | None:
    try:
        kept = json.loads(file.read_bytes())
        rows = kept["entries"] if kept["folder"] == str(folder) else []
        return {row["name"]: Entry(**{**row, "members": tuple(row["members"])}) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, folder: Path, entries: dict[str, Entry]) -> dict[str, Entry]:
    """Whole or not at all; a folder that is not ours to write only costs the next look a second."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps({"folder": str(folder), "entries": [asdict(one) for one in entries.values()]}))
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
    return entries
