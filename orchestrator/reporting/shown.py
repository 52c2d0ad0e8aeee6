"""Which samples a page shows, and how much of each: a page must open at once, whatever a model wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.results import Sample

SHOWN = 300
"""Samples of a page at most."""
OF_A_KIND = 100
"""Of these at most that many failed, that many cut, that many wrong; then the first others."""
CHARACTERS = 2000
"""Of one text at most."""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One row of the table of samples."""

    dataset: str
    index: int
    verdict: str
    """`right`, `wrong`, `failed: <cause>`, a number, or `-`."""
    kinds: str
    """Classes that the filters go by."""
    prompt: str
    output: str
    prediction: str
    gold: str


def choose(samples: Sequence[Sample]) -> list[Sample]:
    """At most `SHOWN`, in their order: failed, cut and wrong ones first."""
    kinds: tuple[Callable[[Sample], bool], ...] = (
        lambda sample: sample.failed is not None,
        lambda sample: sample.cut,
        lambda sample: sample.correct is False,
    )
    chosen: set[int] = set()
    for holds in kinds:
        chosen.update([place for place, sample in enumerate(samples) if holds(sample)][:OF_A_KIND])
    others = (place for place in range(len(samples)) if place not in chosen)
    places = [*sorted(chosen)[:SHOWN], *(place for place, _ in zip(others, range(SHOWN - len(chosen)), strict=False))]
    return [samples[place] for place in sorted(places)]


def row_of(sample: Sample) -> SampleRow:
    """The texts cut to what a page can hold."""
    kinds = {"failed": sample.failed is not None, "cut": sample.cut, "wrong": sample.correct is False}
    return SampleRow(
        sample.dataset,
        sample.index,
        _verdict(sample),
        " ".join(kind for kind, holds in kinds.items() if holds),
        shortened(sample.prompt),
        shortened(sample.output or ""),
        shortened(sample.prediction or ""),
        shortened(sample.gold or ""),
    )


def shortened(text: str) -> str:
    """At most `CHARACTERS` of it, and how many are left out."""
    left = len(text) - CHARACTERS
    return text if left <= 0 else f"{text[:CHARACTERS]}\n[... {left} more characters in samples.jsonl]"


def _verdict(sample: Sample) -> str:
    if sample.failed is not None:
        return f"failed: {sample.failed}"
    if sample.correct is not None:
        return "right" if sample.correct else "wrong"
    return "-" if sample.value is None else f"{sample.value:.4g}"
