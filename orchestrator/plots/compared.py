"""Which charts the speeds of several served models give: a line for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.plots.chart import Chart, Series
from orchestrator.speed import SpeedResult

Point = tuple[float, float, bool]
"""Where, how much, and whether it may not count."""


def compared_charts(results: Mapping[str, SpeedResult]) -> list[Chart]:
    """Speed and memory by context length, output by load, a line for each name; what has two places or more."""
    return [chart for chart in _charts(results) if len(chart.x_ticks) > 1]


def _charts(results: Mapping[str, SpeedResult]) -> Iterator[Chart]:
    lengths = "context length in tokens"
    speeds = {name: _speeds(one) for name, one in results.items()}
    yield _chart("context-speed", "Speed by context length", lengths, "tokens/s", speeds)
    memory = {name: _memory(one) for name, one in results.items()}
    yield _chart("context-memory", "Memory by context length", lengths, "MiB", memory)
    for by, label in (("concurrency", "requests in flight"), ("rate", "requests per second that arrive")):
        output = {name: _output(one, by) for name, one in results.items()}
        yield _chart(f"load-{by}", "Output by load", label, "tokens/s", output)


def _speeds(result: SpeedResult) -> list[Point]:
    return [(row.context, row.speed, bool(row.invalid)) for row in result.context if row.speed is not None]


def _memory(result: SpeedResult) -> list[Point]:
    return [(row.context, row.memory.bytes / 2**20, False) for row in result.context if row.memory]


def _output(result: SpeedResult, by: str) -> list[Point]:
    rows = [row for row in result.load if row.by == by]
    return [(row.offered, row.output_tokens_per_second, bool(row.invalid)) for row in rows]


def _chart(name: str, title: str, x_label: str, y_label: str, points: Mapping[str, Sequence[Point]]) -> Chart:
    series = tuple(_series(variant, sorted(own)) for variant, own in points.items() if own)
    ticks = tuple(sorted({x for one in series for x, _ in one.points}))
    return Chart(name, title, x_label, y_label, series, ticks)


def _series(variant: str, points: Sequence[Point]) -> Series:
    invalid = sum(doubtful for _, _, doubtful in points)
    mark = f" ({'invalid' if invalid == len(points) else f'{invalid} invalid'})" if invalid else ""
    return Series(f"{variant}{mark}", tuple((float(x), y) for x, y, _ in points))
