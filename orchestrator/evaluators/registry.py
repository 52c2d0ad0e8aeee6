"""Which evaluators there are: found through the entry-point group `orchestrator.evaluators`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

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
        available = ", ".join(evaluator_names())
        raise EvaluatorMissing(f"evaluator `{name}` is not available yet; available: {available}")
    evaluator: Evaluator = found.load()()
    return evaluator


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
