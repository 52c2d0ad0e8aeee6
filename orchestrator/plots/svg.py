"""A chart as SVG, drawn here: no library, readable on light and dark pages, to be put into HTML as it is."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from orchestrator.plots.chart import Chart, Series, nice_step, short

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 54, 50
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
_FONT = 'font-family="system-ui, sans-serif" fill="currentColor"'


def svg_of(chart: Chart) -> str:
    """The whole `<svg>` element. Text and axes take the colour of the page around it."""
    parts = [*_frame(chart), *_y_axis(chart), *_x_axis(chart), *_lines(chart), *_legend(chart)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img"'
    return "\n".join([f'{head} aria-label="{escape(chart.title, {chr(34): "&quot;"})}">', *parts, "</svg>\n"])


def _frame(chart: Chart) -> Iterator[str]:
    yield _text(WIDTH / 2, 20, chart.title, size=15, anchor="middle")
    yield _text(WIDTH / 2, HEIGHT - 8, chart.x_label, anchor="middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield _text(14, middle, chart.y_label, anchor="middle", more=f' transform="rotate(-90 14 {middle:.1f})"')


def _y_axis(chart: Chart) -> Iterator[str]:
    step = nice_step(chart.top)
    for number in range(int(chart.top / step + 1e-9) + 1):
        y = _y(chart, number * step)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="{0.6 if number == 0 else 0.15}"/>'
        )
        yield _text(LEFT - 6, y + 4, short(number * step), anchor="end")


def _x_axis(chart: Chart) -> Iterator[str]:
    for tick in chart.x_ticks:
        yield _text(_x(chart, tick), HEIGHT - BOTTOM + 18, short(tick), anchor="middle")


def _lines(chart: Chart) -> Iterator[str]:
    for number, one in enumerate(chart.series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_x(chart, x):.1f},{_y(chart, y):.1f}" for x, y in one.points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (_dot(chart, one, x, y, colour) for x, y in one.points)


def _dot(chart: Chart, one: Series, x: float, y: float, colour: str) -> str:
    title = escape(f"{one.name}: {short(y)} at {short(x)}")
    place = f'cx="{_x(chart, x):.1f}" cy="{_y(chart, y):.1f}"'
    return f'<circle {place} r="3.5" fill="{colour}"><title>{title}</title></circle>'


def _legend(chart: Chart) -> Iterator[str]:
    """Above the frame, so that no line runs through it."""
    if len(chart.series) < 2:
        return
    share = (WIDTH - LEFT - RIGHT) / len(chart.series)
    for number, one in enumerate(chart.series):
        x, y = LEFT + share * number, TOP - 12
        yield f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>'
        yield _text(x + 16, y, one.name)


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {_FONT}{more}>{escape(text)}</text>'
    )


def _x(chart: Chart, x: float) -> float:
    inset = 16
    return LEFT + inset + chart.place(x) * (WIDTH - LEFT - RIGHT - 2 * inset)


def _y(chart: Chart, y: float) -> float:
    return HEIGHT - BOTTOM - y / (1.05 * chart.top) * (HEIGHT - TOP - BOTTOM)
