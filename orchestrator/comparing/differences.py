"""The difference on one data set, paired wherever the samples allow it, and what it says to the gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.comparing.evidence import Evidence, Flips, Shares, evidence_of
from orchestrator.comparing.gate import Gate, decide
from orchestrator.comparing.joining import Joined
from orchestrator.comparing.model import Difference, Flip
from orchestrator.comparing.paired import independent_interval
from orchestrator.results import DatasetResult

LEVEL = 0.05
"""Adjusted p below which a difference counts as real."""


@dataclass(frozen=True, slots=True)
class Found:
    """One row, and what it was made of."""

    row: Difference
    evidence: Evidence | None

    def with_adjusted(self, p: float) -> Found:
        """With the p-value corrected for the other tests."""
        return replace(self, row=self.row.model_copy(update={"p_adjusted": p}))


def difference_of(baseline: DatasetResult, variant: DatasetResult, joined: Joined, confidence: float) -> Found:
    """One row of the comparison, without what needs the other rows: `p_adjusted`, the verdict."""
    evidence = evidence_of(baseline, variant, joined)
    told = _paired(evidence, confidence) if evidence else _of_scores(baseline, variant, joined, confidence)
    notes = [*_left_out(baseline, variant, joined), *told.pop("notes", [])]
    row = Difference(
        evaluator=variant.evaluator,
        dataset=variant.dataset,
        metric=variant.metric,
        asked=joined.asked,
        pairs=len(joined.pairs),
        unanswered=joined.unanswered,
        prompts_differ=joined.prompts_differ,
        alone=joined.alone,
        equal_outputs=sum(first.output == second.output for first, second in joined.pairs),
        notes=notes,
        **told,
    )
    return Found(row, evidence)


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


def judged(found: Found, gate: Gate, datasets: int) -> tuple[Difference, str]:
    """The row with the gate's verdict on it, and the reason; `datasets` is how many the gate judges."""
    row, evidence = found.row, found.evidence
    where = f"{row.dataset} {row.metric}"
    surer = gate.no_go_confidence(datasets)
    interval = evidence.interval(gate.confidence) if evidence else None
    proof = evidence.interval(surer) if evidence else None
    if evidence is None or not evidence.is_share or interval is None or proof is None:
        return _undecided(row, f"{where}: the gate judges the same questions, answered right or wrong by both")
    if row.pairs < gate.min_coverage * row.asked:
        why = f"{row.pairs} of {row.asked} samples can be compared, below min_coverage {gate.min_coverage:g}"
        return _undecided(row, f"{where}: {why}")
    seen = f"{evidence.difference:+.1f} points, {gate.confidence:.0%} interval {interval[0]:+.1f} to {interval[1]:+.1f}"
    told = f"{where}: {seen}; at most {gate.max_drop:g} may be lost"
    verdict = decide(gate, interval, proof)
    if verdict != "INCONCLUSIVE":
        return row.model_copy(update={"verdict": verdict}), told
    passes = evidence.difference > -gate.max_drop
    need = evidence.needed(-gate.max_drop, gate.confidence if passes else surer)
    return _undecided(row.model_copy(update={"samples_to_decide": need}), told + _more(need))


def unjudged(found: Found) -> Difference:
    """Without a gate: how many samples would show whether a difference like this one is real."""
    row, evidence = found.row, found.evidence
    if evidence is None or not evidence.difference or (row.p_adjusted or 0) < LEVEL:
        return row
    return row.model_copy(update={"samples_to_decide": evidence.needed(0.0, 1 - LEVEL)})


def _paired(evidence: Evidence, confidence: float) -> dict[str, Any]:
    told: dict[str, Any] = {
        "difference": evidence.difference,
        "interval": evidence.interval(confidence),
        "test": evidence.test,
        "p": evidence.p(),
    }
    match evidence:
        case Flips():
            return {**told, "lost": evidence.lost, "won": evidence.won}
        case Shares():
            note = f"questions were asked more than once: {len(evidence.differences)} questions are compared"
            return {**told, "notes": [note]}
        case _:
            return told


def _of_scores(baseline: DatasetResult, variant: DatasetResult, joined: Joined, confidence: float) -> dict[str, Any]:
    """No pairs, or no verdict on each sample: what the two scores alone can tell, which is no test."""
    if baseline.score is None or variant.score is None:
        return {"notes": ["one of the two has no score"]}
    told: dict[str, Any] = {"difference": variant.score - baseline.score}
    if not joined.asked:
        return {**told, "notes": ["has no samples of its own: its parts are compared one by one"]}
    if not (baseline.interval and variant.interval) or joined.pairs:
        return {**told, "notes": [f"`{variant.metric}` is not told for each sample, so the difference has no test"]}
    first = round(baseline.score * baseline.answered / 100), baseline.answered
    second = round(variant.score * variant.answered / 100), variant.answered
    low, high = independent_interval(first, second, confidence)
    note = "not paired: the interval is that of unrelated samples, and there is no test"
    return {**told, "interval": (100 * low, 100 * high), "notes": [note]}


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


def _undecided(row: Difference, reason: str) -> tuple[Difference, str]:
    return row.model_copy(update={"verdict": "INCONCLUSIVE"}), reason


def _more(need: int | None) -> str:
    if need is None:
        return "; the drop seen is so near to that limit that no number of samples is sure to decide"
    return f"; about {need} samples would decide"
