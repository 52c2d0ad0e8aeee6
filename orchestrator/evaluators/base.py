"""What an evaluator is to us: a command to run against the gateway, and files to read afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from launchers.engine import Refusal
from launchers.environments import Environment, Recipe
from orchestrator.results import Evaluation
from orchestrator.spec.models import EvaluateSpec


@dataclass(frozen=True, slots=True)
class Target:
    """What the evaluator talks to."""

    base_url: str
    """OpenAI-compatible base URL of the gateway, ending in `/v1`."""
    model: str
    """Name to send as `model`."""
    concurrency: int
    """Requests in flight."""
    model_folder: Path | None = None
    """Folder of the model with its tokenizer, where it is on this machine."""
    max_model_len: int | None = None
    """Longest input plus output of one request in tokens, where the spec says so."""


@dataclass(frozen=True, slots=True)
class Command:
    """One process to start; its exit code is never trusted."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the scrubbed environment."""


@dataclass(frozen=True, slots=True)
class Done:
    """How far an evaluator is, from its own files."""

    done: int
    total: int | None
    """None until the evaluator has counted its samples."""
    over: bool = False
    """No request will follow: what is left needs no model."""


class Evaluator(ABC):
    """An evaluator: how to run it and how to read it. Stateless."""

    name: ClassVar[str]
    recipe: ClassVar[Recipe | None]
    """The isolated environment it lives in; None: it runs in our own."""
    asks_datasets: ClassVar[bool] = True
    """False: `datasets` stays empty."""
    own_pace: ClassVar[bool] = False
    """It decides how many requests are in flight: the gateway holds none of them back."""

    @abstractmethod
    def refusals(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """What of `spec` cannot be done, with paths relative to `spec` (e.g. `datasets.0`).

        Fast (under a second) and without starting anything. `base` is the folder that relative paths start from;
        `environment` is None when the evaluator is not installed: then only our own data sets can be checked.
        """

    def missing_data(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """Data that is not on this machine, each with the steps that bring it here; asked once nothing is refused."""
        return []

    def scored_by_likelihood(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[str]:
        """Paths in `spec` of what needs an engine that scores given texts, e.g. `datasets.0`."""
        return []

    def paths_read(self, spec: EvaluateSpec, base: Path) -> list[Path]:
        """Files outside of the installed evaluator that `spec` makes it read or run, for a service's policy."""
        return []

    @abstractmethod
    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        """Write the evaluator's config into `folder` (empty, absolute) and say what to run."""

    @abstractmethod
    def progress(self, folder: Path) -> Done:
        """How far the run in `folder` is; cheap enough to be asked twice a second."""

    @abstractmethod
    def collect(self, folder: Path, log: Path) -> Evaluation:
        """Read what the run in `folder` left behind; `log` is what it printed.

        Raises: EvaluatorFailed when the files do not hold a whole evaluation.
        """
