"""Scores over the samples that the engine answered, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clients.marks import failure_id_of
from orchestrator.evaluators.opencompass.reading import DatasetFiles
from orchestrator.results import DatasetResult, Sample, wilson_interval

EMPTY_ANSWER = "empty_answer"
"""The engine answered with nothing: OpenCompass scores that as wrong, or even as right."""

# OpenCompass's own order of precedence (`METRIC_WHITELIST` of its default summarizer).
_METRICS = (
    *("score", "auc_score", "accuracy", "humaneval_pass@1", "rouge1", "avg_toxicity_score"),
    *("bleurt_diff", "matthews_correlation", "truth", "f1", "exact_match"),
)
_ROUNDING = 0.01
"""Percentage points by which evaluators that round may differ from our own sum."""


@dataclass(frozen=True, slots=True)
class _Score:
    value: float | None
    interval: tuple[float, float] | None
    notes: list[str]


def samples_of(files: DatasetFiles) -> list[Sample]:
    """Every sample of a data set, in the order of the data."""
    return [_sample(files, index, entry) for index, entry in enumerate(files.predictions)]


def result_of(files: DatasetFiles, samples: list[Sample]) -> DatasetResult:
    """The score of a data set over its answered samples."""
    metric = _metric(files)
    answered = [sample for sample in samples if sample.failed is None]
    score = _score(files, metric, samples, answered)
    repeated = f"each question was asked {files.repeats} times; every answer counts as one sample"
    return DatasetResult(
        evaluator="opencompass",
        dataset=files.name,
        metric=_plain(metric),
        score=score.value,
        interval=score.interval if files.repeats == 1 else None,
        asked=len(samples),
        answered=len(answered),
        failed=len(samples) - len(answered),
        coverage=len(answered) / len(samples) if samples else 0.0,
        prompt_version=files.version,
        notes=[*score.notes, *([repeated] if files.repeats > 1 else [])],
    )


def _score(files: DatasetFiles, metric: str, samples: list[Sample], answered: list[Sample]) -> _Score:
    theirs = files.metrics[metric]
    flags = [detail.correct for detail in files.details]
    if not answered:
        return _Score(None, None, ["the engine answered none of the questions"])
    scale = _scale(theirs, flags)
    right = sum(sample.correct is True for sample in answered)
    if scale is not None:
        notes = [] if scale == 100 else [f"`{metric}` is a share of 1; given here in percent"]
        notes += _excluded(len(samples) - len(answered), theirs * 100 / scale)
        ours = 100 * right / len(answered)
        score = theirs * 100 / scale if len(answered) == len(samples) else ours
        return _Score(score, wilson_interval(right, len(answered)), notes)
    if len(answered) == len(samples):
        told = bool(flags) and None not in flags
        differs = f"`{metric}` is not the share of right answers, which is {100 * right / len(answered):.2f}%"
        return _Score(theirs, None, [differs] if told else [])
    failed = len(samples) - len(answered)
    return _Score(None, None, [f"{failed} samples failed and `{metric}` cannot be computed without them"])


def _scale(theirs: float, flags: list[bool | None]) -> int | None:
    """100 or 1 when the metric is the share of right answers over all samples, failed ones included; else None."""
    if not flags or None in flags:
        return None
    share = sum(flag is True for flag in flags) / len(flags)
    for scale in (100, 1):
        if abs(theirs - scale * share) <= _ROUNDING * scale / 100:
            return scale
    return None


def _excluded(failed: int, theirs: float) -> list[str]:
    return [f"{failed} failed samples are left out; OpenCompass, which scores them, says {theirs:.2f}"] * bool(failed)


def _sample(files: DatasetFiles, index: int, entry: dict[str, Any]) -> Sample:
    texts = list(_texts(entry.get("prediction")))
    failed = next((found for text in texts if (found := failure_id_of(text))), None)
    if failed is None and not "".join(texts).strip():
        failed = EMPTY_ANSWER
    detail = files.details[index] if files.details else None
    gold = entry.get("gold", detail and detail.gold)
    return Sample(
        dataset=files.name,
        index=index,
        prompt=_prompt(entry.get("origin_prompt")),
        output="\n".join(texts) if failed is None else None,
        gold=None if gold is None else str(gold),
        prediction=detail.prediction if detail and failed is None else None,
        correct=detail.correct if detail and failed is None else None,
        failed=failed,
    )


def _texts(prediction: Any) -> Iterator[str]:
    """The answer, or the answers of several turns."""
    if isinstance(prediction, str):
        yield prediction
    elif isinstance(prediction, list | dict):
        for part in prediction.values() if isinstance(prediction, dict) else prediction:
            yield from _texts(part)


def _prompt(origin: Any) -> str:
    """Chat turns as `ROLE: text` lines."""
    if not isinstance(origin, list):
        return "" if origin is None else str(origin)
    return "\n".join(
        f"{turn.get('role', '?')}: {turn.get('prompt', turn.get('content', ''))}"
        if isinstance(turn, dict)
        else str(turn)
        for turn in origin
    )


def _metric(files: DatasetFiles) -> str:
    names = [name for name in files.metrics if name not in ("bp", "sys_len", "ref_len", "type")]
    return min(names or files.metrics, key=lambda name: _rank(_plain(name)))


def _rank(name: str) -> int:
    return _METRICS.index(name) if name in _METRICS else len(_METRICS)


def _plain(metric: str) -> str:
    """`accuracy (4 runs average)` is still the accuracy."""
    return metric.split(" (", 1)[0] if metric.endswith(" runs average)") else metric
