"""What a run of lm-eval left behind, task by task, checked: it writes everything at its very end, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import EvaluatorFailed

_NO_PROMPT = ("task", "tag", "group", "task_alias", "dataset_path", "dataset_name", "dataset_kwargs", "metadata")


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """The whole of one task's results."""

    name: str
    chat: bool
    """Asked over chat, with the model's chat template."""
    config: Mapping[str, Any]
    """The task's, as lm-eval used it."""
    shots: int
    version: str
    """Fingerprint of the prompts: eight hex digits."""
    metrics: Mapping[str, Any]
    """lm-eval's own numbers: `exact_match,strict-match` and the like."""
    rows: Mapping[str, list[dict[str, Any]]]
    """Filter -> its rows, one per document, in the order of the data."""
    original: int
    """Documents of the task before `limit`."""


@dataclass(frozen=True, slots=True)
class GroupFiles:
    """A group of tasks that lm-eval gives a score of its own."""

    name: str
    members: tuple[str, ...]
    """Its tasks, those of groups within it included."""
    metrics: Mapping[str, Any]


def read_run(out: Path, parts: list[dict[str, Any]], limit: int | None) -> Iterator[TaskFiles | GroupFiles]:
    """Every task of the run, then the groups of its part.

    Raises: EvaluatorFailed when one has no whole result.
    """
    for part in parts:
        results, file = _results(out / part["name"])
        chat = bool(part["apply_chat_template"])
        for name in results["configs"]:
            yield _task(name, results, file, limit, chat=chat)
        for name, metrics in (results.get("groups") or {}).items():
            yield GroupFiles(name, tuple(_leaves(name, results["group_subtasks"])), metrics)


def _results(folder: Path) -> tuple[dict[str, Any], Path]:
    files = sorted(folder.glob("*/results_*.json"))
    if not files:
        raise EvaluatorFailed(f"lm-eval left no results for its {folder.name} part")
    return _json(files[-1]), files[-1]


def _task(name: str, results: dict[str, Any], file: Path, limit: int | None, *, chat: bool) -> TaskFiles:
    config = results["configs"][name]
    shots = results["n-shot"].get(name, 0)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(file, name):
        rows.setdefault(row["filter"], []).append(row)
    original = results["n-samples"][name]["original"]
    expected = original if limit is None else min(limit, original)
    for filtered in rows.values():
        filtered.sort(key=lambda row: int(row["doc_id"]))
    if not rows or any(len(filtered) != expected for filtered in rows.values()):
        raise EvaluatorFailed(f"`{name}` has {[len(one) for one in rows.values()]} samples instead of {expected}")
    version = _fingerprint(config, results["versions"].get(name), shots, chat=chat)
    return TaskFiles(name, chat, config, shots, version, results["results"][name], rows, original)


def _rows(file: Path, name: str) -> Iterator[dict[str, Any]]:
    samples = file.with_name(f"samples_{name}_{file.stem.removeprefix('results_')}.jsonl")
    try:
        with samples.open() as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise EvaluatorFailed(f"the samples of `{name}` cannot be read: {error}") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise EvaluatorFailed(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise EvaluatorFailed(f"{file} holds no object")
    return content


def _leaves(name: str, children: Mapping[str, list[str]]) -> Iterator[str]:
    for child in children[name]:
        if child in children:
            yield from _leaves(child, children)
        else:
            yield child


def _fingerprint(config: Mapping[str, Any], version: Any, shots: int, *, chat: bool) -> str:
    """Of what makes the prompts: templates, examples, task version, chat or not; not of where the data lies."""
    until = (config.get("generation_kwargs") or {}).get("until")
    asked = {key: value for key, value in config.items() if key not in (*_NO_PROMPT, "generation_kwargs")}
    text = json.dumps([asked, until, version, shots, chat], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
