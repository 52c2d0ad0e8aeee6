"""Charts of results: as SVG always, as PNG where matplotlib is installed."""

from orchestrator.plots.chart import Chart, Series
from orchestrator.plots.png import png_of
from orchestrator.plots.speed import speed_charts
from orchestrator.plots.svg import svg_of
from orchestrator.plots.writing import write_plots

__all__ = ["Chart", "Series", "png_of", "speed_charts", "svg_of", "write_plots"]
