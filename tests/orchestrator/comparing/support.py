"""Finished jobs made of plain verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.comparing.runs import Run
from orchestrator.record import JobRecord, State, now
from orchestrator.results import DatasetResult, Sample, wilson_interval

EVALUATE = [{"evaluator": "straight", "datasets": ["rows"]}]


def sample(index: int, correct: bool | None, **changes: Any) -> Sample:
    """A sample whose output says whether it is right."""
    fields: dict[str, Any] = {
        "dataset": "rows",
        "index": index,
        "prompt": f"question {index}",
        "output": f"answer {correct}",
        "gold": "answer True",
        "prediction": str(correct),
        "correct": correct,
    }
    return Sample(**{**fields, **changes})


def result(samples: Sequence[Sample], **changes: Any) -> DatasetResult:
    """The score that an evaluator gives these samples."""
    answered = [one for one in samples if one.failed is None]
    right = sum(bool(one.correct) for one in answered)
    fields: dict[str, Any] = {
        "evaluator": "straight",
        "dataset": "rows",
        "metric": "accuracy",
        "score": 100 * right / len(answered) if answered else None,
        "interval": wilson_interval(right, len(answered)),
        "asked": len(samples),
        "answered": len(answered),
        "failed": len(samples) - len(answered),
        "coverage": len(answered) / len(samples),
    }
    return DatasetResult(**{**fields, **changes})


def run(
    name: str,
    samples: Sequence[Sample],
    results: Sequence[DatasetResult] | None = None,
    *,
    state: State = State.SUCCEEDED,
    busy: float | None = None,
    **record: Any,
) -> Run:
    """A job that is over, as `read_run` gives it."""
    fields: dict[str, Any] = {
        "id": f"job-{name}",
        "name": name,
        "state": state,
        "spec": {"serve": {"engine": name, "model": "demo"}, "evaluate": EVALUATE},
        "created_at": now(),
        "results": list(results) if results is not None else [result(samples)],
        "folder": str(Path("jobs") / name),
    }
    return Run(name, JobRecord(**{**fields, **record}), tuple(samples), busy)


def verdicts(*flags: bool) -> list[Sample]:
    """One sample per flag."""
    return [sample(index, flag) for index, flag in enumerate(flags)]
