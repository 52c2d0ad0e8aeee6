"""Which evaluators there are: found through the entry-point group `orchestrator.evaluators`."""

from __future__ import annotations

import difflib
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from launchers.environments import Environment, Environments
from orchestrator.errors import EvaluatorMissing
from orchestrator.evaluators.base import Evaluator

GROUP = "orchestrator.evaluators"


def evaluator_names() -> list[str]:
    """Names of all evaluators that are registered, sorted."""
    return sorted(_registered())


def get_evaluator(name: str) -> Evaluator:
    """The evaluator of that name.

    Raises: EvaluatorMissing when there is none.
    """
    found = _registered().get(name)
    if found is None:
        close = difflib.get_close_matches(name, evaluator_names(), n=1)
        guess = f"; did you mean `{close[0]}`?" if close else ";"
        raise EvaluatorMissing(f"no evaluator `{name}` here{guess} available: {', '.join(evaluator_names())}")
    evaluator: Evaluator = found.load()()
    return evaluator


def environment_of(evaluator: Evaluator, environments: Environments) -> Environment | None:
    """The environment that the evaluator lives in: ours where it needs no other; None when it is not installed."""
    if evaluator.recipe is not None:
        return environments.find(evaluator.recipe)
    prefix = Path(sys.prefix)
    return Environment(evaluator.name, prefix, Path(sys.executable), {}, requirements_hash="", created="")


def missing_hint(evaluator: Evaluator) -> str:
    """What to do when it is not installed."""
    recipe = evaluator.recipe
    return f"orchestrator install {evaluator.name}  ({recipe.size}, {recipe.time})" if recipe else ""


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
