"""The charts of a job as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.plots.png import png_of
from orchestrator.plots.speed import speed_charts
from orchestrator.plots.svg import svg_of
from orchestrator.speed import SpeedResult


def write_plots(folder: Path, results: Sequence[SpeedResult]) -> list[Path]:
    """Write every chart into `folder`: SVG, and PNG where matplotlib is installed; returns what was written."""
    written: list[Path] = []
    for number, result in enumerate(results):
        for chart in speed_charts(result):
            folder.mkdir(exist_ok=True)
            name = f"speed-{number}-{chart.name}"
            path = folder / f"{name}.svg"
            path.write_text(svg_of(chart))
            written.append(path)
            if (picture := png_of(chart)) is not None:
                path = folder / f"{name}.png"
                path.write_bytes(picture)
                written.append(path)
    return written
