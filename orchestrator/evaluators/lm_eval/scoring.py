"""Scores over the samples that the engine answered, and no others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.evaluators.lm_eval.reading import GroupFiles, TaskFiles
from orchestrator.evaluators.lm_eval.samples import Grade, failures_of, grades_of, sample_of
from orchestrator.results import DatasetResult, Sample, wilson_interval

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Scored:
    """A task's result with what its groups need."""

    result: DatasetResult
    samples: list[Sample]
    values: list[float] | None
    """The main metric's value of each sample; None when it has none per sample."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A metric over the answered samples."""

    number: float | None
    interval: tuple[float, float] | None = None
    note: str = ""


def scored(files: TaskFiles) -> Scored:
    """A task's samples in the order of the data, and its score over the answered ones.

    The score is the first metric of the first filter; the others are told in the notes.
    """
    name, rows = next(iter(files.rows.items()))
    failures = failures_of(files, rows)
    pairs = [(metric, filtered) for filtered in files.rows for metric in files.rows[filtered][0]["metrics"]]
    main = (rows[0]["metrics"][0], name)
    values = _values(files.rows[name], main[0])
    grades = grades_of(values) if values else [Grade()] * len(rows)
    samples = [sample_of(files, *one) for one in zip(rows, failures, grades, strict=True)]
    result = _result(files, main, failures)
    others = [_told(files, pair, failures) for pair in pairs if pair != main]
    notes = [*result.notes, *([f"also {', '.join(others)}"] if others else [])]
    return Scored(result.model_copy(update={"notes": notes}), samples, values)


def group_result(group: GroupFiles, tasks: Mapping[str, Scored]) -> DatasetResult:
    """The score that lm-eval gives a group: over the answered samples where it is their mean, else only if all were."""
    members = [tasks[name] for name in group.members]
    failures = [sample.failed for one in members for sample in one.samples]
    key = next(name for name in group.metrics if "," in name and "_stderr," not in name)
    values = [value for one in members for value in (one.values or [])]
    score = _over_answered(group.metrics[key], values if len(values) == len(failures) else None, failures)
    return _row(group.name, key, score, failures, note=f"the whole of {len(members)} tasks")


def _result(files: TaskFiles, main: tuple[str, str], failures: Sequence[str | None]) -> DatasetResult:
    key = f"{main[0]},{main[1]}"
    score = _over_answered(files.metrics.get(key), _values(files.rows[main[1]], main[0]), failures)
    examples = f"{files.shots} example{'' if files.shots == 1 else 's'} before each question"
    asked = f"{examples}, asked over {'chat' if files.chat else 'completions'}"
    return _row(files.name, key, score, failures, note=asked, version=files.version)


def _row(
    name: str, key: str, score: _Value, failures: Sequence[str | None], *, note: str, version: str | None = None
) -> DatasetResult:
    answered = sum(failed is None for failed in failures)
    return DatasetResult(
        evaluator="lm_eval",
        dataset=name,
        metric=_plain(key),
        score=score.number,
        interval=score.interval,
        asked=len(failures),
        answered=answered,
        failed=len(failures) - answered,
        coverage=answered / len(failures) if failures else 0.0,
        prompt_version=version,
        notes=[note, *([score.note] if score.note else [])],
    )


def _over_answered(theirs: Any, values: list[float] | None, failures: Sequence[str | None]) -> _Value:
    """lm-eval's number where all samples were answered, else its metric over those that were."""
    failed = sum(one is not None for one in failures)
    if failed == len(failures):
        return _Value(None, note="the engine answered none of the questions")
    if values is None or not isinstance(theirs, int | float) or not _is_mean(theirs, values):
        whole = isinstance(theirs, int | float) and math.isfinite(theirs)
        missing = f"{_samples(failed)}, and this metric cannot be computed without"
        return _Value(float(theirs), None) if whole and not failed else _Value(None, note=missing)
    kept = [value for value, one in zip(values, failures, strict=True) if one is None]
    if not all(0 <= value <= 1 for value in values):
        return _Value(sum(kept) / len(kept), None, _left_out(failed, theirs))
    rate = all(value in (0, 1) for value in values)
    interval = wilson_interval(round(sum(kept)), len(kept)) if rate else None
    return _Value(100 * sum(kept) / len(kept), interval, _left_out(failed, 100 * theirs))


def _left_out(failed: int, theirs: float) -> str:
    if not failed:
        return ""
    return f"{_samples(failed)} left out; lm-eval, which scores them, says {theirs:.2f}"


def _samples(failed: int) -> str:
    return f"{failed} failed sample{'' if failed == 1 else 's'}"


def _is_mean(theirs: float, values: list[float]) -> bool:
    """Proved by the sum: over all samples, failed ones included, it must give lm-eval's own number."""
    finite = bool(values) and math.isfinite(theirs)
    return finite and abs(sum(values) / len(values) - theirs) <= _ROUNDING * max(1.0, abs(theirs))


def _values(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float] | None:
    """The metric's value of each sample, if it has one."""
    values = [row.get(metric) for row in rows]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return numbers if len(numbers) == len(values) else None


def _told(files: TaskFiles, pair: tuple[str, str], failures: Sequence[str | None]) -> str:
    key = f"{pair[0]},{pair[1]}"
    number = _over_answered(files.metrics.get(key), _values(files.rows[pair[1]], pair[0]), failures).number
    return f"{_plain(key)} {'no score' if number is None else f'{number:.2f}'}"


def _plain(key: str) -> str:
    return key.removesuffix(",none")
