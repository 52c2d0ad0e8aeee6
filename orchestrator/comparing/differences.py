"""The difference on one data set, paired wherever the samples allow it, and what it says to the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean, variance
from typing import Any

from orchestrator.comparing.gate import Gate, decide
from orchestrator.comparing.joining import Joined
from orchestrator.comparing.model import Difference, Flip
from orchestrator.comparing.paired import (
    exact_mcnemar,
    independent_interval,
    samples_for,
    samples_to_decide,
    score_interval,
)
from orchestrator.comparing.resampling import bootstrap_interval, sign_flip_test
from orchestrator.results import DatasetResult, Sample

LEVEL = 0.05
"""Adjusted p below which a difference counts as real."""
ROUNDING = 0.01
"""Points by which an evaluator's score may differ from that of its own samples."""


def difference_of(baseline: DatasetResult, variant: DatasetResult, joined: Joined, confidence: float) -> Difference:
    """One row of the comparison, without what needs the other rows: `p_adjusted`, the verdict."""
    if joined.pairs and _by_verdict(baseline, joined.baseline) and _by_verdict(variant, joined.variant):
        found = _of_rates(joined, confidence)
    elif joined.pairs and _by_value(baseline, joined.baseline) and _by_value(variant, joined.variant):
        found = _of_values(joined, confidence)
    else:
        found = _of_scores(baseline, variant, joined, confidence)
    return Difference(
        evaluator=variant.evaluator,
        dataset=variant.dataset,
        metric=variant.metric,
        asked=joined.asked,
        pairs=len(joined.pairs),
        unanswered=joined.unanswered,
        prompts_differ=joined.prompts_differ,
        alone=joined.alone,
        equal_outputs=sum(first.output == second.output for first, second in joined.pairs),
        notes=[*_left_out(baseline, variant, joined), *found.pop("notes", [])],
        **found,
    )


def flips_of(variant: str, joined: Joined) -> Iterator[Flip]:
    """The pairs of which one is right and the other wrong."""
    for first, second in joined.pairs:
        if first.correct is None or second.correct is None or first.correct == second.correct:
            continue
        yield Flip(
            variant=variant,
            dataset=first.dataset,
            index=first.index,
            change="lost" if first.correct else "won",
            prompt=first.prompt,
            gold=first.gold,
            baseline_output=first.output,
            variant_output=second.output,
            baseline_prediction=first.prediction,
            variant_prediction=second.prediction,
        )


def judged(row: Difference, gate: Gate, datasets: int) -> tuple[Difference, str]:
    """The row with the gate's verdict on it, and the reason; `datasets` is how many the gate judges."""
    where = f"{row.dataset} {row.metric}"
    if row.lost is None or row.won is None or not row.pairs:
        why = "the gate judges the same questions answered right or wrong by both"
        return row.model_copy(update={"verdict": "INCONCLUSIVE"}), f"{where}: {why}"
    if row.pairs < gate.min_coverage * row.asked:
        why = f"{row.pairs} of {row.asked} samples can be compared, below min_coverage {gate.min_coverage:g}"
        return row.model_copy(update={"verdict": "INCONCLUSIVE"}), f"{where}: {why}"
    surer = gate.no_go_confidence(datasets)
    low, high = _points(score_interval(row.lost, row.won, row.pairs, gate.confidence))
    verdict = decide(gate, (low, high), _points(score_interval(row.lost, row.won, row.pairs, surer)))
    need = None if verdict != "INCONCLUSIVE" else _needed(row, gate, surer)
    told = f"{where}: {row.difference:+.1f} points, {gate.confidence:.0%} interval {low:+.1f} to {high:+.1f}"
    reason = f"{told}; at most {gate.max_drop:g} may be lost{_more(need) if verdict == 'INCONCLUSIVE' else ''}"
    return row.model_copy(update={"verdict": verdict, "samples_to_decide": need}), reason


def unjudged(row: Difference) -> Difference:
    """Without a gate: how many samples would show whether a difference like this one is real."""
    if row.p_adjusted is None or row.p_adjusted < LEVEL:
        return row.model_copy(update={"samples_to_decide": None})
    if row.lost is None or row.won is None or row.lost == row.won:
        return row
    need = samples_to_decide(row.lost, row.won, row.pairs)
    return row.model_copy(update={"samples_to_decide": need and max(need, row.pairs + 1)})


def _of_rates(joined: Joined, confidence: float) -> dict[str, Any]:
    lost = sum(bool(first.correct) and not second.correct for first, second in joined.pairs)
    won = sum(bool(second.correct) and not first.correct for first, second in joined.pairs)
    return {
        "lost": lost,
        "won": won,
        "difference": 100 * (won - lost) / len(joined.pairs),
        "interval": _points(score_interval(lost, won, len(joined.pairs), confidence)),
        "test": "exact McNemar",
        "p": exact_mcnemar(lost, won),
    }


def _of_values(joined: Joined, confidence: float) -> dict[str, Any]:
    differences = [(second.value or 0.0) - (first.value or 0.0) for first, second in joined.pairs]
    mean = fmean(differences)
    spread = variance(differences) if len(differences) > 1 else 0.0
    return {
        "difference": mean,
        "interval": bootstrap_interval(differences, confidence=confidence),
        "test": "sign flips",
        "p": sign_flip_test(differences),
        "samples_to_decide": samples_for(mean, spread) if spread else None,
    }


def _of_scores(baseline: DatasetResult, variant: DatasetResult, joined: Joined, confidence: float) -> dict[str, Any]:
    """No pairs, or no verdict on each sample: what the two scores alone can tell, which is no test."""
    if baseline.score is None or variant.score is None:
        return {"notes": ["one of the two has no score"]}
    found: dict[str, Any] = {"difference": variant.score - baseline.score}
    if baseline.interval and variant.interval and not joined.pairs:
        first = round(baseline.score * baseline.answered / 100), baseline.answered
        second = round(variant.score * variant.answered / 100), variant.answered
        found["interval"] = _points(independent_interval(first, second, confidence))
        return {**found, "notes": ["not paired: the interval is that of unrelated samples, and there is no test"]}
    return {**found, "notes": [f"`{variant.metric}` is not told for each sample, so the difference has no test"]}


def _by_verdict(result: DatasetResult, samples: Sequence[Sample]) -> bool:
    """Whether the score is the share of the samples that are right."""
    flags = [sample.correct for sample in samples if sample.failed is None]
    known = [flag for flag in flags if flag is not None]
    return bool(known) and len(known) == len(flags) and _is(result, 100 * sum(known) / len(known))


def _by_value(result: DatasetResult, samples: Sequence[Sample]) -> bool:
    """Whether the score is the mean of the samples' values."""
    values = [sample.value for sample in samples if sample.failed is None]
    known = [value for value in values if value is not None]
    return bool(known) and len(known) == len(values) and _is(result, fmean(known))


def _is(result: DatasetResult, score: float) -> bool:
    return result.score is not None and abs(result.score - score) <= ROUNDING


def _left_out(baseline: DatasetResult, variant: DatasetResult, joined: Joined) -> Iterator[str]:
    if joined.asked and joined.prompts_differ == joined.asked:
        yield "not comparable: every prompt differs from the baseline's"
    elif joined.prompts_differ:
        yield f"{joined.prompts_differ} of {joined.asked} samples were asked with another prompt and are left out"
    if joined.unanswered:
        yield f"{joined.unanswered} of {joined.asked} samples lack an answer of at least one and are left out"
    if joined.alone:
        yield f"{joined.alone} of {joined.asked} samples were asked of only one and are left out"
    if baseline.prompt_version != variant.prompt_version:
        yield f"the prompt templates differ: {baseline.prompt_version} and {variant.prompt_version}"


def _needed(row: Difference, gate: Gate, surer: float) -> int | None:
    lost, won = row.lost or 0, row.won or 0
    passes = 100 * (won - lost) / row.pairs > -gate.max_drop
    need = samples_to_decide(
        lost, won, row.pairs, limit=-gate.max_drop / 100, confidence=gate.confidence if passes else surer
    )
    return need and max(need, row.pairs + 1)


def _more(need: int | None) -> str:
    if need is None:
        return "; the drop seen is so near to that limit that no number of samples is sure to decide"
    return f"; about {need} samples would decide"


def _points(interval: tuple[float, float]) -> tuple[float, float]:
    return 100 * interval[0], 100 * interval[1]
