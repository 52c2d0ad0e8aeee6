"""What the pairs of one data set tell about the difference: flips of right and wrong, or differences of numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean, variance

from orchestrator.comparing.joining import Joined
from orchestrator.comparing.model import Test
from orchestrator.comparing.paired import exact_mcnemar, samples_for, samples_to_decide, score_interval
from orchestrator.comparing.resampling import bootstrap_interval, sign_flip_test
from orchestrator.results import DatasetResult, Sample

ROUNDING = 0.01
"""Points by which an evaluator's score may differ from that of its own samples."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Flips:
    """Every question was asked once and answered right or wrong."""

    lost: int
    won: int
    pairs: int
    test: Test = "exact McNemar"
    is_share: bool = True

    @property
    def difference(self) -> float:
        """In points."""
        return 100 * (self.won - self.lost) / self.pairs

    def p(self) -> float:
        """Two-sided."""
        return exact_mcnemar(self.lost, self.won)

    def interval(self, confidence: float) -> Interval | None:
        """Of the difference, in points."""
        low, high = score_interval(self.lost, self.won, self.pairs, confidence)
        return 100 * low, 100 * high

    def needed(self, limit: float, confidence: float) -> int | None:
        """Pairs that would show on which side of `limit` (points) the difference is; more than there are."""
        need = samples_to_decide(self.lost, self.won, self.pairs, limit=limit / 100, confidence=confidence)
        return need and max(need, self.pairs + 1)


@dataclass(frozen=True, slots=True)
class Shares:
    """Every question was asked repeatedly, and counts once, by its share of right answers."""

    differences: tuple[float, ...]
    """One per question, from -1 to 1."""
    test: Test = "sign flips"
    is_share: bool = True

    @property
    def difference(self) -> float:
        """In points."""
        return 100 * fmean(self.differences)

    def p(self) -> float:
        """Two-sided."""
        return sign_flip_test(self.differences)

    def interval(self, confidence: float) -> Interval | None:
        """Of the difference, in points; it does not vanish where few questions all agree."""
        low, high = score_interval(*self._parts(), len(self.differences), confidence)
        return 100 * low, 100 * high

    def needed(self, limit: float, confidence: float) -> int | None:
        """Questions that would show on which side of `limit` (points) the difference is; more than there are."""
        questions = len(self.differences)
        need = samples_to_decide(*self._parts(), questions, limit=limit / 100, confidence=confidence)
        return need and max(need, questions + 1)

    def _parts(self) -> tuple[float, float]:
        """Lost and won, in parts of questions."""
        return fsum(max(0.0, -one) for one in self.differences), fsum(max(0.0, one) for one in self.differences)


@dataclass(frozen=True, slots=True)
class Values:
    """The metric gives every sample a number."""

    differences: tuple[float, ...]
    """One per question, in the unit of the score."""
    test: Test = "sign flips"
    is_share: bool = False

    @property
    def difference(self) -> float:
        """In the unit of the score."""
        return fmean(self.differences)

    def p(self) -> float:
        """Two-sided."""
        return sign_flip_test(self.differences)

    def interval(self, confidence: float) -> Interval | None:
        """Of the difference; None with a single question."""
        return bootstrap_interval(self.differences, confidence=confidence)

    def needed(self, limit: float, confidence: float) -> int | None:
        """Questions that would show on which side of `limit` the difference is; more than there are."""
        spread = variance(self.differences) if len(self.differences) > 1 else 0.0
        need = samples_for(self.difference - limit, spread, confidence=confidence) if spread else None
        return need and max(need, len(self.differences) + 1)


Evidence = Flips | Shares | Values


def evidence_of(baseline: DatasetResult, variant: DatasetResult, joined: Joined) -> Evidence | None:
    """What the pairs tell; None without pairs, or where the samples do not explain the scores."""
    if not joined.pairs:
        return None
    if _by_verdict(baseline, joined.baseline) and _by_verdict(variant, joined.variant):
        return _of_verdicts(joined)
    if _by_value(baseline, joined.baseline) and _by_value(variant, joined.variant):
        return Values(
            _by_question([(_number(first) or 0, _number(second) or 0, first) for first, second in joined.pairs])
        )
    return None


def _of_verdicts(joined: Joined) -> Flips | Shares:
    """Answers to one question are no independent samples, so a question counts once."""
    flags = [(float(bool(first.correct)), float(bool(second.correct)), first) for first, second in joined.pairs]
    if len({first.prompt for first, _ in joined.pairs}) < len(joined.pairs):
        return Shares(_by_question(flags))
    lost = sum(first > second for first, second, _ in flags)
    return Flips(lost, sum(second > first for first, second, _ in flags), len(flags))


def _by_question(values: Sequence[tuple[float, float, Sample]]) -> tuple[float, ...]:
    """Mean difference of each question, whatever the number of answers to it."""
    questions: dict[str, list[float]] = defaultdict(list)
    for first, second, sample in values:
        questions[sample.prompt].append(second - first)
    return tuple(fmean(own) for own in questions.values())


def _by_verdict(result: DatasetResult, samples: Sequence[Sample]) -> bool:
    """Whether the score is the share of the samples that are right."""
    flags = [sample.correct for sample in samples if sample.failed is None]
    known = [flag for flag in flags if flag is not None]
    return bool(known) and len(known) == len(flags) and _is(result, 100 * sum(known) / len(known))


def _by_value(result: DatasetResult, samples: Sequence[Sample]) -> bool:
    """Whether the score is the mean of the samples' values."""
    values = [_number(sample) for sample in samples if sample.failed is None]
    known = [value for value in values if value is not None]
    return bool(known) and len(known) == len(values) and _is(result, fmean(known))


def _number(sample: Sample) -> float | None:
    """A metric that gives parts of a point may give one engine nothing but right and wrong."""
    return 100.0 * sample.correct if sample.value is None and sample.correct is not None else sample.value


def _is(result: DatasetResult, score: float) -> bool:
    return result.score is not None and abs(result.score - score) <= ROUNDING
