"""A whole OpenCompass config as data: its models, data sets and what else it sets."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from launchers.environments import Environment, Environments
from launchers.scrub import scrubbed
from orchestrator.errors import BadSpec, EvaluatorMissing, FieldError
from orchestrator.evaluators.opencompass import OpenCompassEvaluator
from orchestrator.evaluators.opencompass.datasets import package_of
from orchestrator.evaluators.registry import missing_hint
from orchestrator.one_click.staging import Placed, place
from orchestrator.settings import Settings

SCRIPT = Path(__file__).with_name("dump_config.py")
PATIENCE = 300.0
"""Seconds that resolving a config may take: two on an idle machine, more for collections of hundreds of files."""


class DatasetEntry(BaseModel):
    """One data set of the config."""

    model_config = ConfigDict(frozen=True)

    abbr: str
    max_out_len: int | None
    """Longest answer that the data set's own inferencer asks for; wins over the model's."""
    stopping_criteria: list[str]
    """Words at which its inferencer ends answers."""


class Dumped(BaseModel):
    """What `dump_config.py` prints."""

    model_config = ConfigDict(frozen=True)

    names: list[str]
    """Every variable that the config sets."""
    models: list[dict[str, Any]]
    datasets: list[DatasetEntry]


class WholeConfig(BaseModel):
    """A config that was read."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    file: Path
    """The user's file, absolute."""
    placed: Placed
    """Where OpenCompass reads it."""
    package: Path
    """Folder of the installed `opencompass` package."""
    dumped: Dumped


def read_config(file: Path, settings: Settings) -> WholeConfig:
    """Resolve the config with OpenCompass's interpreter; the config is a program, which is run.

    Raises: BadSpec when it cannot be read or names no models or no data sets; EvaluatorMissing without OpenCompass.
    """
    if not file.is_file():
        raise BadSpec([FieldError("", "cannot be read: there is no such file")], source=str(file))
    environment, package = _installed(settings)
    placed = place(file.resolve(), package, settings.root / "one_click")
    dumped = _dumped(placed.file, environment, source=str(file))
    wanted = {"models": dumped.models, "datasets": dumped.datasets}
    if empty := [name for name, entries in wanted.items() if not entries]:
        errors = [
            FieldError(name, "is missing: a config to run as a whole has `models` and `datasets`") for name in empty
        ]
        raise BadSpec(errors, source=str(file))
    return WholeConfig(file=file.resolve(), placed=placed, package=package, dumped=dumped)


def _installed(settings: Settings) -> tuple[Environment, Path]:
    evaluator = OpenCompassEvaluator()
    environment = Environments(settings.environments).find(evaluator.recipe)
    package = package_of(environment) if environment else None
    if environment is None or package is None:
        raise EvaluatorMissing("OpenCompass, which reads its configs, is not installed", hint=missing_hint(evaluator))
    return environment, package


def _dumped(file: Path, environment: Environment, *, source: str) -> Dumped:
    argv = [str(environment.python), str(SCRIPT), str(file)]
    variables = scrubbed(os.environ, {"CUDA_VISIBLE_DEVICES": ""})
    try:
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise BadSpec([FieldError("", f"could not be resolved within {PATIENCE:g} s")], source=source) from None
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"names"')]
    if done.returncode != 0 or not lines:
        said = "\n    ".join(done.stderr.strip().splitlines()[-4:])
        raise BadSpec([FieldError("", f"OpenCompass cannot read it:\n    {said}")], source=source)
    return Dumped.model_validate(json.loads(lines[-1]))
