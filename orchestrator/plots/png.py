"""A chart as PNG by matplotlib, an extra: `pip install 'serve-then-evaluate[plots]'`."""

from __future__ import annotations

import importlib
import importlib.util
import io

from orchestrator.plots.chart import Chart, short
from orchestrator.plots.svg import COLOURS


def png_of(chart: Chart) -> bytes | None:
    """The picture; None where matplotlib is not installed. The first call takes about a second."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    # Not pyplot: no global state, no display, and it may be called from any thread.
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(chart.series):
        places = [chart.place(x) for x, _ in one.points]
        axes.plot(places, [y for _, y in one.points], "o-", label=one.name, color=COLOURS[number % len(COLOURS)])
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label, ylim=(0, 1.05 * chart.top))
    axes.set_xticks([chart.place(tick) for tick in chart.x_ticks], [short(tick) for tick in chart.x_ticks])
    axes.grid(axis="y", alpha=0.3)
    if len(chart.series) > 1:
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
