"""From finished jobs to a comparison: every variant against the baseline, corrected for the number of tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.comparing.differences import Found, difference_of, flips_of, judged, unjudged
from orchestrator.comparing.gate import Gate, Verdict, overall
from orchestrator.comparing.joining import Group, Joined, groups_of, join
from orchestrator.comparing.model import Difference, Flip, Mode, VariantResult
from orchestrator.comparing.paired import holm
from orchestrator.comparing.plan import asked, differing
from orchestrator.comparing.runs import Run, against, speed_of
from orchestrator.comparing.speeds import ratios_of
from orchestrator.record import State
from orchestrator.results import DatasetResult

CONFIDENCE = 0.95
"""Of the intervals where no gate names another."""


def assess(runs: Sequence[Run], baseline: str, gate: Gate | None, mode: Mode) -> tuple[list[VariantResult], list[Flip]]:
    """Every run as a variant of the comparison, and the flipped answers of all of them.

    Runs may be of jobs that failed: they are INCONCLUSIVE. Without a finished baseline there are no differences.
    """
    base = next((run for run in runs if run.name == baseline), None)
    variants = [_result(run, mode) for run in runs]
    if base is None:
        return variants, []
    joined = {run.name: join(base.samples, run.samples) for run in runs if run is not base}
    confidence = gate.confidence if gate else CONFIDENCE
    found = {run.name: list(_found(base, run, joined[run.name], confidence)) for run in runs if run is not base}
    found = _adjusted(found)
    base_speed = speed_of(base, mode)
    timed = [
        one.model_copy(
            update={
                "speed": against(one.speed, base_speed),
                "speed_ratios": ratios_of(base.record.speed, one.measured, mode),
                "notes": _asked_otherwise(base, run),
            }
        )
        for one, run in zip(variants, runs, strict=True)
    ]
    compared = [one if one.name == baseline else _against(one, found[one.name], base, gate) for one in timed]
    flips = [flip for name, groups in joined.items() for group in groups.values() for flip in flips_of(name, group)]
    return compared, flips


def verdict_of(variants: Sequence[VariantResult], baseline: str) -> Verdict:
    """The gate's over all variants."""
    return overall([variant.verdict or "INCONCLUSIVE" for variant in variants if variant.name != baseline])


def is_complete(variants: Sequence[VariantResult], baseline: str) -> bool:
    """Whether every job succeeded, and every data set and measurement of speed has a counterpart."""
    found = {variant.name: (_names(variant.results), len(variant.measured)) for variant in variants}
    succeeded = all(variant.state == State.SUCCEEDED for variant in variants)
    return succeeded and all(own == found[baseline] for own in found.values())


def _result(run: Run, mode: Mode) -> VariantResult:
    record = run.record
    serve = record.spec.get("serve", {})
    return VariantResult(
        name=run.name,
        engine=serve.get("engine", ""),
        model=serve.get("model") or serve.get("url") or "",
        job=record.id,
        folder=record.folder,
        state=record.state,
        failure=record.failure,
        results=record.results,
        speed=speed_of(run, mode),
        measured=record.speed,
        fidelity=record.fidelity,
    )


def _asked_otherwise(base: Run, run: Run) -> list[str]:
    """What the prompts do not show: another limit of the answer, another temperature."""
    paths = differing(asked(base.record.spec["evaluate"]), asked(run.record.spec["evaluate"]))
    return [f"asked in another way than the baseline: {', '.join(paths)}"] if paths else []


def _found(base: Run, run: Run, joined: dict[Group, Joined], confidence: float) -> Iterator[Found]:
    """One per result that both have; the others' names are in the reasons of the verdict."""
    counterparts = dict(zip(_keys(base.record.results), base.record.results, strict=True))
    for key, result in zip(_keys(run.record.results), run.record.results, strict=True):
        if counterpart := counterparts.get(key):
            yield difference_of(counterpart, result, joined.get(key[0], Joined()), confidence)


def _keys(results: Sequence[DatasetResult]) -> list[tuple[Group, str, str]]:
    groups = groups_of(results)
    return [(group, result.evaluator, result.metric) for group, result in zip(groups, results, strict=True)]


def _adjusted(found: dict[str, list[Found]]) -> dict[str, list[Found]]:
    """With Holm's correction over every test of every variant: whoever reads the table looks at all of them."""
    values = [one.row.p for own in found.values() for one in own if one.row.p is not None]
    adjusted = iter(holm(values))
    return {
        name: [one if one.row.p is None else one.with_adjusted(next(adjusted)) for one in own]
        for name, own in found.items()
    }


def _against(variant: VariantResult, found: list[Found], base: Run, gate: Gate | None) -> VariantResult:
    if gate is None:
        return variant.model_copy(update={"differences": [unjudged(one) for one in found]})
    judgeable = [one for one in found if one.row.asked]
    decided = [judged(one, gate, len(judgeable)) for one in judgeable]
    verdicts = [row.verdict or "INCONCLUSIVE" for row, _ in decided]
    lacking = [*_unfinished("the baseline", base.record.state), *_unfinished(variant.name, variant.state)]
    missing = _names(base.record.results) - _names(variant.results)
    lacking += [f"{name}: {variant.name} has no result" for name in sorted(missing)]
    if not (lacking or found):
        lacking = ["there is no score to judge"]
    if lacking:
        verdicts.append("INCONCLUSIVE")
    return variant.model_copy(
        update={
            "differences": _in_order(found, [row for row, _ in decided]),
            "verdict": overall(verdicts),
            "reasons": [*lacking, *(reason for _, reason in decided)],
        }
    )


def _in_order(found: Sequence[Found], decided: Sequence[Difference]) -> list[Difference]:
    """With the rows between them that have no samples of their own, which no gate can judge."""
    rows = iter(decided)
    return [next(rows) if one.row.asked else one.row for one in found]


def _unfinished(name: str, state: str) -> list[str]:
    return [] if state in (State.SUCCEEDED, State.INCOMPLETE) else [f"the job of {name} is {state}"]


def _names(results: Sequence[DatasetResult]) -> set[str]:
    return {f"{result.dataset} {result.metric} ({result.evaluator})" for result in results}
