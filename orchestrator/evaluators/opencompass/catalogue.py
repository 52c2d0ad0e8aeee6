"""Every data set config that an installed OpenCompass ships, and ours: resolved once, then read from a file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from launchers.environments import Environment
from launchers.scrub import scrubbed
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.opencompass.datasets import OUR_CONFIGS, nearest, package_of
from orchestrator.evaluators.opencompass.missing import Data, data_of

SCRIPT = Path(__file__).parent / "plugin" / "orchestrated" / "catalogue.py"
PATIENCE = 600.0
"""Seconds that building it may take: half a minute on an idle machine."""


class Dataset(BaseModel):
    """One data set of a config."""

    model_config = ConfigDict(frozen=True)

    variable: str
    abbr: str
    """Its name in results."""
    type: str
    """Class that loads it."""
    path: str | None
    subset: str | None
    split: str
    range: str | None
    repeats: int
    """How often each question is asked."""
    inferencer: str
    evaluator: str
    """Class that scores it."""
    scorers: list[str]
    """That class and all others that it uses."""


class Config(BaseModel):
    """One config file."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Folder and stem, e.g. `gsm8k/gsm8k_gen`."""
    file: Path
    datasets: list[Dataset]
    error: str | None
    """Why OpenCompass itself cannot read it."""

    @cached_property
    def stem(self) -> str:
        """What a spec says, e.g. `gsm8k_gen`."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def inferencers(self) -> list[str]:
        """Its inferencers, each once."""
        return list(dict.fromkeys(one.inferencer for one in self.datasets if one.inferencer))

    @property
    def evaluators(self) -> list[str]:
        """Its evaluators, each once."""
        return list(dict.fromkeys(one.evaluator for one in self.datasets if one.evaluator))

    def data(self, package: Path) -> list[Data]:
        """What it reads, each place once."""
        wanted = dict.fromkeys((one.type, one.path) for one in self.datasets if one.path)
        return [data_of(kind, path, package) for kind, path in wanted if path]


def load_catalogue(environment: Environment, cache: Path) -> list[Config]:
    """Every config, sorted by name; built on the first call for an environment (half a minute), then read (50 ms).

    Raises: EvaluatorFailed when OpenCompass's interpreter cannot build it.
    """
    file = catalogue_file(environment, cache)
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(_built(environment))
        unfinished.rename(file)
    rows = [Config.model_validate_json(line) for line in file.read_text().splitlines()]
    return sorted(rows, key=lambda row: row.name)


def catalogue_file(environment: Environment, cache: Path) -> Path:
    """Where the catalogue of an environment is kept."""
    script = sha256(SCRIPT.read_bytes()).hexdigest()[:8]
    return cache / f"{environment.folder.name}-{script}.jsonl"


def fitting(pattern: str, catalogue: Iterable[Config]) -> list[Config]:
    """Configs whose name fits: a pattern with `*`, else a part of it; or that hold a data set of that name."""
    if any(sign in pattern for sign in "*?["):
        return [row for row in catalogue if any(fnmatchcase(name, pattern) for name in (row.name, row.stem))]
    rows = list(catalogue)
    exact = [row for row in rows if pattern in (row.name, row.stem)]
    within = [row for row in rows if pattern.lower() in row.name.lower()]
    return exact or within or [row for row in rows if any(one.abbr == pattern for one in row.datasets)]


def meant(pattern: str, catalogue: Iterable[Config]) -> list[str]:
    """Names near to one that fits nothing."""
    return nearest(pattern, sorted({row.stem for row in catalogue}))


def rows_in(data: Data, dataset: Dataset) -> int | None:
    """Rows of the split that is asked, where a file of it is here and can be told; its range is not looked at."""
    if data.place is None or data.state != "here":
        return None
    if data.place.is_file():
        return _rows(data.place)
    stems = [dataset.split, *([f"{dataset.subset}_{dataset.split}", dataset.subset] if dataset.subset else [])]
    folders = [data.place, data.place / dataset.split]
    files = (
        folder / f"{stem}{suffix}" for folder in folders for stem in stems for suffix in (".jsonl", ".csv", ".json")
    )
    return next((_rows(file) for file in files if file.is_file()), None)


def _rows(file: Path) -> int | None:
    """None for csv files too: whether their first line is a row, only the data set's class knows."""
    try:
        if file.suffix == ".jsonl":
            return sum(1 for line in file.read_bytes().splitlines() if line.strip())
        content = json.loads(file.read_bytes()) if file.suffix == ".json" else None
    except (OSError, ValueError):
        return None
    return len(content) if isinstance(content, list | dict) else None


def _built(environment: Environment) -> str:
    package = package_of(environment)
    argv = [str(environment.python), str(SCRIPT), str(OUR_CONFIGS), str(package and package / "configs" / "datasets")]
    try:
        done = subprocess.run(argv, env=scrubbed(os.environ, {}), capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise EvaluatorFailed(f"OpenCompass's data set configs could not be listed within {PATIENCE:g} s") from None
    if done.returncode != 0 or package is None:
        said = "\n".join(done.stderr.splitlines()[-5:])
        raise EvaluatorFailed(f"OpenCompass's data set configs cannot be listed:\n{said}")
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if line.startswith("{"))
