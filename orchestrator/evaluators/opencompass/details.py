"""What an evaluator says of each answer, from the `details` of its results."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

_JUDGE = "GenericLLMEvaluator"
_CASCADE = "CascadeEvaluator"
_GRADE = re.compile("[ABC]")  # C, where it is offered: not attempted
_CASCADE_GRADE = re.compile(r"(A|CORRECT.*)|[BC]|INCORRECT.*", re.DOTALL)  # nothing else is a verdict to it
_CORRECT_KEYS = ("correct", "is_correct")
_PREDICTION_KEYS = ("parsed", "pred", "predictions", "prediction")
_GOLD_KEYS = ("answer", "references", "reference", "refr", "gold")


@dataclass(frozen=True, slots=True)
class Detail:
    """What the evaluator says of one answer."""

    prediction: str | None = None
    gold: str | None = None
    correct: bool | None = None
    unjudged: bool = False
    """A judge model was to say whether it is right, and did not; `correct` is False, as OpenCompass counts it."""


def read_details(raw: Any, count: int, repeats: int, scorer: str) -> list[Detail]:
    """One detail per prediction; none when their number does not fit, since then nothing says which is which.

    `raw` holds one entry per question, in which each field is a list with one value per time that it was asked.
    """
    entries = entries_of(raw)
    if len(entries) * repeats != count:
        return []
    read = _cascaded if scorer == _CASCADE else _plain
    details = [read(entries[index % len(entries)], index // len(entries)) for index in range(count)]
    return [_by_judge(detail) for detail in details] if scorer == _JUDGE else details


def entries_of(raw: Any) -> list[dict[str, Any]]:
    """The entries of `details`, in the order of the questions; other values in place of an entry become empty ones."""
    if isinstance(raw, dict):
        raw = [raw[key] for key in sorted((key for key in raw if key.isdecimal()), key=int)]
    return [entry if isinstance(entry, dict) else {} for entry in raw] if isinstance(raw, list) else []


def with_verdicts(details: list[Detail], metrics: dict[str, float]) -> list[Detail]:
    """Details with a verdict each, where the evaluator gives none but only compares prediction and gold.

    That it does (`AccEvaluator`, behind most multiple choice) is proved by the sum: it must give its own number.
    """
    if any(detail.correct is not None or None in (detail.prediction, detail.gold) for detail in details):
        return details
    compared = [replace(detail, correct=detail.prediction == detail.gold) for detail in details]
    share = 100 * sum(detail.correct is True for detail in compared) / max(1, len(compared))
    proved = any(abs(metrics.get(name, -1.0) - share) < 1e-6 for name in ("accuracy", "score", "exact_match"))
    return compared if proved else details


def _plain(entry: dict[str, Any], repeat: int) -> Detail:
    correct = _field(entry, _CORRECT_KEYS, repeat)
    prediction, gold = (_field(entry, keys, repeat) for keys in (_PREDICTION_KEYS, _GOLD_KEYS))
    return Detail(
        None if prediction is None else str(prediction),
        None if gold is None else str(gold),
        bool(correct) if correct in (True, False, 0, 1) else None,
    )


def _by_judge(detail: Detail) -> Detail:
    """The verdict out of the judge's words, as OpenCompass reads them: the first A or B."""
    if detail.correct is not None and detail.prediction is None:
        return detail
    grade = _GRADE.search(detail.prediction or "")
    return replace(detail, correct=grade is not None and grade[0] == "A", unjudged=grade is None)


def _cascaded(entry: dict[str, Any], repeat: int) -> Detail:
    """A rule first, then a judge of whom only bare verdicts count: any other word leaves the rule's `wrong`."""
    rule = _field(entry, ("rule_evaluation",), repeat)
    found = _plain(rule if isinstance(rule, dict) else {}, 0)
    said = _said(entry.get("llm_evaluation"), repeat)
    if said is None or found.correct:
        return found
    grade = _CASCADE_GRADE.fullmatch(said.strip().upper())
    return replace(found, correct=grade is not None and grade[1] is not None, unjudged=grade is None)


def _said(judgements: Any, repeat: int) -> str | None:
    """The judge's words; None where it was not asked, of which the list of judgements keeps no trace."""
    own = (
        one
        for one in (judgements if isinstance(judgements, list) else [judgements])
        if isinstance(one, dict) and one.get("dataset_replica_idx", 0) == repeat
    )
    return next((str(one.get("prediction", one.get("llm_judge", ""))) for one in own), None)


def _field(entry: dict[str, Any], names: tuple[str, ...], repeat: int) -> Any:
    value = next((entry[name] for name in names if name in entry), None)
    if isinstance(value, list):
        return value[repeat] if repeat < len(value) else None
    return value
