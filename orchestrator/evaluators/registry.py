"""Which evaluators there are: found through the entry-point group `orchestrator.evaluators`."""

from __future__ import annotations

import difflib
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
        close = difflib.get_close_matches(name, evaluator_names(), n=1)
        guess = f"; did you mean `{close[0]}`?" if close else ";"
        raise EvaluatorMissing(f"no evaluator `{name}` here{guess} available: {', '.join(evaluator_names())}")
    evaluator: Evaluator = found.load()()
    return evaluator


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
