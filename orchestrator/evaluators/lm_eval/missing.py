"""Data that a task needs and that is not on this machine, told before anything is started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launchers.environments import Environment
from orchestrator.evaluators.lm_eval.tasks import Task

_FILE_FORMATS = frozenset({"json", "csv", "parquet", "arrow", "text", "xml", "pandas"})


def missing_data(task: Task, base: Path, environment: Environment | None) -> str | None:
    """What is absent and how to get it, or None. `base` is where relative paths of a task start.

    lm-eval would download it; a job that holds GPUs should not, and runs offline.
    """
    path, custom = task.config.get("dataset_path"), "custom_dataset" in task.config or "class" in task.config
    if custom or not isinstance(path, str):
        return None
    if path in _FILE_FORMATS:
        absent = [name for name in _data_files(task.config) if "://" not in name and not list(_here(name, base))]
        return f"the data of `{task.name}` is not here: no file {', '.join(absent)}" if absent else None
    if (base / path).exists() or any(place.exists() for place in _cached(path)):
        return None
    return _how_to_get(task, path, environment)


def cache_folder() -> Path:
    """Where Hugging Face's data sets are kept: `HF_HOME`, else `~/.cache/huggingface`."""
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()


def _how_to_get(task: Task, path: str, environment: Environment | None) -> str:
    name = task.config.get("dataset_name")
    wanted = f"{path!r}" + (f", {name!r}" if name else "")
    python = environment.python if environment else "python"
    return (
        f"the data of `{task.name}` ({path}) is not on this machine; where the Hugging Face hub can be reached, run\n"
        f'  {python} -c "from datasets import load_dataset; load_dataset({wanted})"\n'
        f"and bring what it leaves in ~/.cache/huggingface/datasets to {cache_folder() / 'datasets'}; or write a task "
        f"file with `include: {task.file}`, `dataset_path: json` and `dataset_kwargs: {{data_files: ...}}`"
    )


def _cached(path: str) -> Iterator[Path]:
    """Where the hub client and `datasets` keep a data set of that id; the second snake-cases its name."""
    hub = Path(os.environ.get("HF_HUB_CACHE", cache_folder() / "hub")).expanduser()
    yield hub / f"datasets--{path.replace('/', '--')}"
    owner, _, name = path.rpartition("/")
    snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()
    root = Path(os.environ.get("HF_DATASETS_CACHE", cache_folder() / "datasets")).expanduser()
    yield root / (f"{owner}___{snake}" if owner else snake)


def _data_files(config: Any) -> Iterator[str]:
    given = (config.get("dataset_kwargs") or {}).get("data_files")
    for one in given.values() if isinstance(given, dict) else [given]:
        yield from (name for name in (one if isinstance(one, list) else [one]) if isinstance(name, str))


def _here(name: str, base: Path) -> Iterator[Path]:
    path = Path(name)
    return base.glob(name) if not path.is_absolute() else path.parent.glob(path.name)
