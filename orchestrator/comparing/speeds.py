"""What evaluator `speed` measured of each variant, laid beside the same of the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.comparing.model import Mode, SpeedRatio
from orchestrator.speed import ContextSpeed, SpeedResult, ThroughputSpeed
from orchestrator.speed_report import SpeedRow

Part = Literal["context", "throughput", "load"]
SAME_WORK = 0.01
"""Share by which the tokens in and out of two measurements may differ."""
SHARED = "measured while the others ran on the same machine"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a job's measurements a figure stands: the same in two jobs means the same work was wanted."""

    measurement: int
    part: Part
    at: str


def rows_of(results: Sequence[SpeedResult]) -> dict[Place, SpeedRow]:
    """Every figure of a job by its place, in the order of the tables."""
    return {place: row for number, result in enumerate(results) for place, row in _places(number, result)}


def ratios_of(baseline: Sequence[SpeedResult], variant: Sequence[SpeedResult], mode: Mode) -> list[SpeedRatio]:
    """Each speed that both have, the variant's by the baseline's; what is invalid in either is invalid in the ratio."""
    base = rows_of(baseline)
    found = []
    for place, row in rows_of(variant).items():
        other = base.get(place)
        ratio = _ratio(other, row) if other else None
        if other is None or ratio is None:
            continue
        doubts = list(dict.fromkeys([*_doubts(other, row), *([SHARED] if mode == "side_by_side" else [])]))
        found.append(
            SpeedRatio(measurement=place.measurement, part=place.part, at=place.at, ratio=ratio, invalid=doubts)
        )
    return found


def _places(number: int, result: SpeedResult) -> Iterator[tuple[Place, SpeedRow]]:
    for row in result.context:
        yield Place(number, "context", f"context {row.context}"), row
    for one in result.throughput:
        yield Place(number, "throughput", f"{one.prompts} prompts at once"), one
    for point in result.load:
        yield Place(number, "load", f"{point.by} {point.offered:g}"), point


def _ratio(baseline: SpeedRow, variant: SpeedRow) -> float | None:
    own, other = _speed(variant), _speed(baseline)
    return own / other if own is not None and other else None


def _speed(row: SpeedRow) -> float | None:
    """Generated tokens per second."""
    return row.speed if isinstance(row, ContextSpeed) else row.output_tokens_per_second


def _doubts(baseline: SpeedRow, variant: SpeedRow) -> Iterator[str]:
    yield from (f"the baseline's: {reason}" for reason in baseline.invalid)
    yield from variant.invalid
    own, other = _work(variant), _work(baseline)
    if any(abs(one - two) > SAME_WORK * two for one, two in zip(own, other, strict=True)):
        yield f"not the same work: {_told(own)}, the baseline's {_told(other)}"


def _work(row: SpeedRow) -> tuple[float, ...]:
    """Tokens in and out; nothing where the row does not say."""
    match row:
        case ContextSpeed():
            return row.context, row.generated
        case ThroughputSpeed():
            return row.input, row.output
        case _:
            return ()


def _told(work: Sequence[float]) -> str:
    return f"{work[0]:g} tokens in, {work[1]:g} out"
