"""Which charts a speed result gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from orchestrator.plots.chart import Chart, Series
from orchestrator.speed import ContextSpeed, LoadSpeed, Percentiles, SpeedResult

MEMORY = {
    "gpu_process": "GPU memory of the processes",
    "gpu_device": "GPU memory in use",
    "resident": "resident memory",
}


def speed_charts(result: SpeedResult) -> list[Chart]:
    """Speed and memory by context length, rates and latencies by load: what was measured at two places or more."""
    return [chart for chart in _charts(result) if len(chart.x_ticks) > 1]


def _charts(result: SpeedResult) -> Iterator[Chart]:
    rows = sorted((row for row in result.context if row.speed is not None), key=lambda row: row.context)
    yield _by_context("speed", "Speed by context length", "tokens/s", _speeds(rows))
    if used := [(float(row.context), row.memory.bytes / 2**20) for row in rows if row.memory]:
        kind = next(row.memory.kind for row in rows if row.memory)
        yield _by_context("memory", "Memory by context length", "MiB", [Series(MEMORY[kind], tuple(used))])
    for by in ("concurrency", "rate"):
        yield from _by_load(by, [row for row in result.load if row.by == by])


def _speeds(rows: Sequence[ContextSpeed]) -> list[Series]:
    whole = tuple((float(row.context), row.speed) for row in rows if row.speed is not None)
    after = tuple((float(row.context), row.decode) for row in rows if row.decode is not None)
    return [Series("whole request", whole), Series("after the first token", after)]


def _by_context(name: str, title: str, unit: str, series: Sequence[Series]) -> Chart:
    ticks = tuple(sorted({x for one in series for x, _ in one.points}))
    return Chart(f"context-{name}", title, "context length in tokens", unit, tuple(series), ticks)


def _by_load(by: Literal["concurrency", "rate"], rows: Sequence[LoadSpeed]) -> Iterator[Chart]:
    label = "requests in flight" if by == "concurrency" else "requests per second that arrive"
    ticks = tuple(sorted({row.offered for row in rows}))
    tokens = Series("output", tuple((row.offered, row.output_tokens_per_second) for row in rows))
    yield Chart(f"load-{by}-tokens", "Output by load", label, "tokens/s", (tokens,), ticks)
    for name, title in (
        ("ttft", "Time to first token"),
        ("inter_token", "Time between tokens"),
        ("latency", "Latency"),
    ):
        series = _times([(row.offered, getattr(row, name)) for row in rows])
        yield Chart(f"load-{by}-{name.replace('_', '-')}", f"{title} by load", label, "seconds", series, ticks)


def _times(found: Sequence[tuple[float, Percentiles | None]]) -> tuple[Series, ...]:
    known = [(x, times) for x, times in found if times]
    return tuple(Series(part, tuple((x, getattr(times, part)) for x, times in known)) for part in ("p50", "p90", "p99"))
