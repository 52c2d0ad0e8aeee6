"""The tables of speeds of a comparison: a row for each variant at each place, the variants one below the other."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.comparing.model import Comparison, VariantResult
from orchestrator.comparing.speeds import Part, Place, rows_of
from orchestrator.speed import ContextSpeed, LoadSpeed, ThroughputSpeed
from orchestrator.speed_report import CONTEXT, LOAD, THROUGHPUT, SpeedRow, Table, cells_of, memory_kind, speed_remarks

_PARTS: tuple[tuple[Part, str, tuple[str, ...]], ...] = (
    ("context", "Speed by context length", CONTEXT),
    ("throughput", "Throughput, all prompts at once", THROUGHPUT),
    ("load", "Load: p50 / p90 / p99", LOAD),
)
METHODS_OF_SPEEDS = """\
Speed-up: generated tokens per second, the variant's by the baseline's; (invalid) where one of the two figures is not
the engine's own speed, or they are not of the same work."""

Rows = dict[str, dict[Place, SpeedRow]]
"""What was measured, by variant."""


def speed_tables(comparison: Comparison) -> list[Table]:
    """By context length, throughput, load, of every measurement; tables without rows are left out."""
    rows: Rows = {variant.name: rows_of(variant.measured) for variant in comparison.variants}
    measurements = max((len(variant.measured) for variant in comparison.variants), default=0)
    return [table for number in range(measurements) for table in _tables(comparison, rows, number, measurements)]


def speed_notes(comparison: Comparison) -> list[str]:
    """What must stand below them: what is invalid and why, what was not measured, how it was measured."""
    return [
        f"{variant.name}: {remark}"
        for variant in comparison.variants
        for result in variant.measured
        for remark in speed_remarks(result)
    ]


def _tables(comparison: Comparison, rows: Rows, number: int, measurements: int) -> Iterator[Table]:
    for part, title, head in _PARTS:
        own = {
            name: {place: row for place, row in found.items() if (place.measurement, place.part) == (number, part)}
            for name, found in rows.items()
        }
        cells = [line for place in _places(own) for line in _lines(comparison, own, place, len(head))]
        if cells:
            which = f", measurement {number + 1}" if measurements > 1 else ""
            measured = [row for found in own.values() for row in found.values() if isinstance(row, ContextSpeed)]
            yield f"{title}{which}{memory_kind(measured)}", (head[0], "variant", *head[1:], "speed-up"), cells


def _places(rows: Rows) -> list[Place]:
    """Every place that any variant has, the smallest first where places are sizes."""
    found = {place: row for own in rows.values() for place, row in own.items()}
    return sorted(found, key=lambda place: _size(found[place]))


def _size(row: SpeedRow) -> tuple[str, float]:
    match row:
        case ContextSpeed():
            return "", row.context
        case ThroughputSpeed():
            return "", row.prompts
        case LoadSpeed():
            return row.by, row.offered


def _lines(comparison: Comparison, rows: Rows, place: Place, width: int) -> Iterator[tuple[str, ...]]:
    where = next(cells_of(own[place])[0].partition(" (")[0] for own in rows.values() if place in own)
    for variant in comparison.variants:
        row = rows[variant.name].get(place)
        if row is None and not variant.measured:
            continue
        cells = cells_of(row) if row else (where, *["-"] * (width - 1))
        yield (cells[0], variant.name, *cells[1:], _ratio(variant, place))


def _ratio(variant: VariantResult, place: Place) -> str:
    for one in variant.speed_ratios:
        if Place(one.measurement, one.part, one.at) == place:
            return f"{one.ratio:.2f}{' (invalid)' if one.invalid else ''}"
    return "-"
