"""Evaluator `speed`: the measuring process, and what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from launchers.engine import Refusal
from launchers.environments import Environment, Recipe
from launchers.server import tail_of
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.base import Command, Done, Evaluator, Target
from orchestrator.evaluators.speed.plan import Files, Plan, Step, Trouble
from orchestrator.results import Evaluation
from orchestrator.spec.models import EvaluateSpec, Generation
from orchestrator.spec.speed import SpeedSpec
from orchestrator.speed import SpeedResult


class SpeedEvaluator(Evaluator):
    """Runs `python -m orchestrator.evaluators.speed` in our own environment, through the gateway."""

    name: ClassVar[str] = "speed"
    recipe: ClassVar[Recipe | None] = None
    asks_datasets: ClassVar[bool] = False
    own_pace: ClassVar[bool] = True

    def refusals(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """What is said elsewhere for this evaluator."""
        found = []
        if spec.datasets:
            found.append(Refusal("datasets", "evaluator `speed` makes its own prompts; remove it"))
        if spec.limit is not None:
            found.append(Refusal("limit", "evaluator `speed` takes `speed.throughput.prompts` instead"))
        if spec.concurrency != "auto":
            found.append(Refusal("concurrency", "evaluator `speed` takes `speed.load.concurrency`, a list, instead"))
        if spec.generation != Generation():
            found.append(
                Refusal("generation", "evaluator `speed` asks for a fixed number of tokens, greedily; remove it")
            )
        return found

    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        """Write `plan.json`; the process waits until a replica is ready."""
        model = target.model_folder
        plan = Plan(
            base_url=target.base_url,
            model=target.model,
            tokenizer=str(model) if model and (model / "tokenizer.json").is_file() else None,
            max_model_len=target.max_model_len,
            config_len=_config_len(model) if model else None,
            spec=(spec.speed or SpeedSpec()).parts,
        )
        files = Files(folder)
        files.write(files.plan, plan)
        return Command((str(environment.python), "-m", "orchestrator.evaluators.speed", str(folder)), folder)

    def progress(self, folder: Path) -> Done:
        """How far the run is, in requests."""
        try:
            step = Step.model_validate_json(Files(folder).progress.read_text())
        except FileNotFoundError:
            return Done(0, None)
        return Done(step.done, step.total, step.over)

    def collect(self, folder: Path, log: Path) -> Evaluation:
        """The rows that were measured.

        Raises: EvaluatorFailed when there are none.
        """
        files = Files(folder)
        if files.trouble.exists():
            trouble = Trouble.model_validate_json(files.trouble.read_text())
            raise EvaluatorFailed(trouble.message, hint=trouble.hint)
        if not files.result.exists():
            raise EvaluatorFailed(f"the measuring process left nothing behind:\n{tail_of(log)}", hint=f"see {log}")
        return Evaluation(datasets=[], samples=[], speed=SpeedResult.model_validate_json(files.result.read_text()))


def _config_len(model: Path) -> int | None:
    try:
        config = json.loads((model / "config.json").read_text())
    except (OSError, ValueError):
        return None
    found = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return found if isinstance(found, int) else None
