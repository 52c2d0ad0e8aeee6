"""Scores over the samples that the engine answered, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clients.marks import failure_id_of
from orchestrator.evaluators.opencompass.metric import metric_notes, metric_of, plain
from orchestrator.evaluators.opencompass.reading import DatasetFiles
from orchestrator.results import DatasetResult, Sample, wilson_interval

EMPTY_ANSWER = "empty_answer"
"""The engine answered with nothing: OpenCompass scores that as wrong, or even as right."""
NOT_JUDGED = "not_judged"
"""The judge model said neither that the answer is right nor that it is wrong."""
NO_SCORE = "no_score"
"""A text was not scored, and nothing says why."""
_LIKELIHOOD = "Loglikelihood"  # what OpenCompass calls it where the likeliest text is wanted
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


def result_of(files: DatasetFiles, samples: list[Sample], notes: Sequence[str] = ()) -> DatasetResult:
    """The score of a data set over its answered samples; `notes` are added to what is to be said of it."""
    metric = metric_of(files)
    answered = [sample for sample in samples if sample.failed is None]
    score = _score(files, metric, samples, answered)
    repeated = f"each question was asked {files.repeats} times; every answer counts as one sample"
    return DatasetResult(
        evaluator="opencompass",
        dataset=files.name,
        metric=plain(metric),
        score=score.value,
        interval=score.interval if files.repeats == 1 else None,
        asked=len(samples),
        answered=len(answered),
        failed=len(samples) - len(answered),
        coverage=len(answered) / len(samples) if samples else 0.0,
        prompt_version=files.version,
        notes=[*metric_notes(files), *score.notes, *([repeated] if files.repeats > 1 else []), *notes],
    )


def _score(files: DatasetFiles, metric: str, samples: list[Sample], answered: list[Sample]) -> _Score:
    theirs = files.metrics[metric]
    flags = [detail.correct for detail in files.details]
    if not answered:
        return _Score(None, None, ["the engine answered none of the questions"])
    if metric == "average_ppl" and all("ppl" in entry for entry in files.predictions):
        return _mean_perplexity(files, len(samples) - len(answered))
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


def _mean_perplexity(files: DatasetFiles, failed: int) -> _Score:
    """Their metric is the mean over the texts, so it can be made without some of them."""
    values = [float(entry["ppl"]) for entry in files.predictions]
    known = [value for value in values if math.isfinite(value)]
    notes = [f"{failed} failed samples are left out"] if failed else []
    return _Score(sum(known) / len(known), None, [*notes, "mean negative log-likelihood per token, in nats"])


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
    output, failed = _scored(files, entry) if _scores(entry) else _generated(entry)
    detail = files.details[index] if files.details else None
    if failed is None and detail and detail.unjudged:
        failed = NOT_JUDGED
    gold = entry.get("gold", detail and detail.gold)
    return Sample(
        dataset=files.name,
        index=index,
        prompt=_prompt(entry),
        output=output if failed is None else None,
        gold=None if gold is None else str(gold),
        prediction=detail.prediction if detail and failed is None else None,
        correct=detail.correct if detail and failed is None else None,
        failed=failed,
    )


def _generated(entry: dict[str, Any]) -> tuple[str, str | None]:
    """The answer, or the answers of several turns, and why there is none."""
    texts = list(_texts(entry.get("prediction")))
    failed = next((found for text in texts if (found := failure_id_of(text))), None)
    if failed is None and not "".join(texts).strip():
        failed = EMPTY_ANSWER
    return "\n".join(texts), failed


def _scored(files: DatasetFiles, entry: dict[str, Any]) -> tuple[str, str | None]:
    """The score of each text, as `label: score` lines, and why one is missing."""
    scores = _scores(entry)
    if all(math.isfinite(score) for _, _, score in scores):
        return "\n".join(f"{label}: {score:.6g}" if label else f"{score:.6g}" for label, _, score in scores), None
    marks = (files.unscored.get(text, "") for _, text, score in scores if not math.isfinite(score))
    return "", next((found for mark in marks if (found := failure_id_of(mark))), NO_SCORE)


def _scores(entry: dict[str, Any]) -> list[tuple[str, str, float]]:
    """(label, text, score) of each text of a sample that was scored; empty where text was generated."""
    if "ppl" in entry:
        return [("", str(entry.get("origin_prompt")), float(entry["ppl"]))]
    labelled = [(key, value) for key, value in entry.items() if key.startswith("label: ")]
    return [
        (
            key.removeprefix("label: "),
            str(value["prompt"]),
            float(value["PPL"] if "PPL" in value else value[_LIKELIHOOD]),
        )
        for key, value in labelled
    ]


def _texts(prediction: Any) -> Iterator[str]:
    """The answer, or the answers of several turns."""
    if isinstance(prediction, str):
        yield prediction
    elif isinstance(prediction, list | dict):
        for part in prediction.values() if isinstance(prediction, dict) else prediction:
            yield from _texts(part)


def _prompt(entry: dict[str, Any]) -> str:
    """Chat turns as `ROLE: text` lines; the first of several texts that were scored."""
    origin = entry.get("origin_prompt")
    if origin is None and (scores := _scores(entry)):
        return scores[0][1]
    if not isinstance(origin, list):
        return "" if origin is None else str(origin)
    return "\n".join(
        f"{turn.get('role', '?')}: {turn.get('prompt', turn.get('content', ''))}"
        if isinstance(turn, dict)
        else str(turn)
        for turn in origin
    )
