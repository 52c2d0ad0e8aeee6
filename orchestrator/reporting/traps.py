"""Known traps of evaluations, looked for in what the engine answered. Pure functions over samples and requests.

Looked for elsewhere: a doubled start token and stop strings that the engine does not know (the fidelity probe),
prompts that end in a line break before code (OpenCompass's notes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.reporting.traffic import CUT, Traffic
from orchestrator.results import Sample

CUT_WARNED = 0.01
"""Share of answers cut at `max_tokens` above which a score is not to be trusted."""
NOTHING_FOUND_WARNED = 0.1
"""Share of answers without anything that the evaluator could compare, above which the prompt or the parser is off."""
_THINK = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Trap:
    """One trap that this job fell into."""

    name: str
    share: float
    """Of the answers that were looked at, 0 to 1."""
    warns: bool
    """Whether it makes the score doubtful; else it is good to know."""
    note: str


def traps_in(samples: Sequence[Sample], stop: Sequence[str] = ()) -> list[Trap]:
    """The traps of one data set; `stop` are the strings that were to end its answers."""
    answered = [sample for sample in samples if sample.output is not None]
    if not answered:
        return []
    found = (_cut(answered), _think(answered), _stops(answered, stop), _nothing_found(answered))
    return [trap for trap in found if trap]


def traps_of_requests(traffic: Traffic) -> list[Trap]:
    """The traps that only the requests of a whole job show."""
    share = traffic.cut_share
    if not share:
        return []
    count, known = traffic.finishes[CUT], sum(traffic.finishes.values())
    return [_trap("cut", share, CUT_WARNED, f"{count} of {known} answers of this job {_CUT_NOTE}")]


_CUT_NOTE = (
    "were cut at `max_tokens` before the model had ended them: raise `generation.max_tokens`, or see whether it repeats"
)


def _cut(answered: Sequence[Sample]) -> Trap | None:
    share = _share(answered, lambda sample: sample.cut)
    return _trap("cut", share, CUT_WARNED, f"{_of(answered, share)} answers {_CUT_NOTE}") if share else None


def _think(answered: Sequence[Sample]) -> Trap | None:
    share = _share(answered, lambda sample: any(mark in (sample.output or "") for mark in _THINK))
    told = "hold the model's thinking (<think>), where an evaluator may find its answer: rule `think_to_reasoning`"
    return _trap("think", share, 0.0, f"{_of(answered, share)} answers {told}") if share else None


def _stops(answered: Sequence[Sample], stop: Sequence[str]) -> Trap | None:
    share = _share(answered, lambda sample: any(word in (sample.output or "") for word in stop))
    told = f"go on after a stop string ({', '.join(map(repr, stop))}): something ignores `generation.stop`"
    return _trap("stop_ignored", share, 0.0, f"{_of(answered, share)} answers {told}") if share else None


def _nothing_found(answered: Sequence[Sample]) -> Trap | None:
    """Only where the evaluator tells what it takes from an answer at all."""
    judged = [sample for sample in answered if sample.correct is not None]
    if not any(sample.prediction for sample in judged):
        return None
    share = _share(judged, lambda sample: not (sample.prediction or "").strip())
    told = "hold nothing that the evaluator could take as one, and count as wrong"
    return (
        _trap("nothing_found", share, NOTHING_FOUND_WARNED, f"{_of(judged, share)} answers {told}") if share else None
    )


def _trap(name: str, share: float, limit: float, note: str) -> Trap:
    warns = share > limit
    return Trap(name, share, warns, f"{'WARNING: ' if warns else ''}{note}")


def _share(samples: Sequence[Sample], holds: Callable[[Sample], bool]) -> float:
    return sum(map(holds, samples)) / len(samples)


def _of(samples: Sequence[Sample], share: float) -> str:
    return f"{round(share * len(samples))} of {len(samples)}"
