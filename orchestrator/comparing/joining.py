"""Two runs' samples laid side by side: the same data set, the same place in it, the same prompt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.results import DatasetResult, Sample

Group = tuple[str, int]
"""A data set, and which time it was evaluated in the job: 0, 1, ..."""


@dataclass(slots=True)
class Joined:
    """One data set of two runs."""

    baseline: list[Sample] = field(default_factory=list)
    """All that the baseline was asked."""
    variant: list[Sample] = field(default_factory=list)
    """All that the variant was asked."""
    pairs: list[tuple[Sample, Sample]] = field(default_factory=list)
    """The same question asked of both and answered by both: baseline, variant; in the order of the data."""
    prompts_differ: int = 0
    """The same place, but another prompt: never the same question."""
    unanswered: int = 0
    """The same question, but at least one engine gave no answer."""
    alone: int = 0
    """Asked of only one of the two."""

    @property
    def asked(self) -> int:
        """Places in the data set."""
        return len(self.pairs) + self.prompts_differ + self.unanswered + self.alone


def join(baseline: Iterable[Sample], variant: Iterable[Sample]) -> dict[Group, Joined]:
    """Every data set of either run."""
    first, second = _by_place(baseline), _by_place(variant)
    joined: dict[Group, Joined] = defaultdict(Joined)
    for place in [*first, *(place for place in second if place not in first)]:
        dataset, _, time = place
        _add(joined[dataset, time], first.get(place), second.get(place))
    return dict(joined)


def groups_of(results: Sequence[DatasetResult]) -> list[Group]:
    """The group of samples behind each result.

    Results with several metrics of one evaluation share a group; a data set that comes again, by another evaluator
    or with the same metric, was evaluated once more.
    """
    times: Counter[str] = Counter()
    seen: dict[str, tuple[str, set[str]]] = {}
    groups = []
    for result in results:
        evaluator, metrics = seen.get(result.dataset, ("", set()))
        if result.evaluator != evaluator or result.metric in metrics:
            metrics = set()
            times[result.dataset] += 1
        seen[result.dataset] = (result.evaluator, metrics | {result.metric})
        groups.append((result.dataset, times[result.dataset] - 1))
    return groups


def _by_place(samples: Iterable[Sample]) -> Mapping[tuple[str, int, int], Sample]:
    times: Counter[tuple[str, int]] = Counter()
    placed = {}
    for sample in samples:
        key = sample.dataset, sample.index
        placed[*key, times[key]] = sample
        times[key] += 1
    return placed


def _add(joined: Joined, first: Sample | None, second: Sample | None) -> None:
    if first:
        joined.baseline.append(first)
    if second:
        joined.variant.append(second)
    if first is None or second is None:
        joined.alone += 1
    elif first.prompt != second.prompt:
        joined.prompts_differ += 1
    elif first.failed is not None or second.failed is not None:
        joined.unanswered += 1
    else:
        joined.pairs.append((first, second))
