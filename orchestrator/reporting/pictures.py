"""Small pictures of a report as SVG: drawn here, with the colours of the page around them, without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from orchestrator.plots.chart import nice_step, short
from orchestrator.plots.svg import COLOURS

_INK = 'fill="currentColor" font-family="system-ui, sans-serif" font-size="11"'
_FAINT = 'stroke="currentColor" stroke-opacity="0.25"'
_WIDTH, _HEIGHT = 640, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 26, 36
_BINS = 32


def interval_bar(score: float | None, interval: tuple[float, float] | None) -> str:
    """A score in percent on a line from 0 to 100, with its interval; empty where it is no such number."""
    if score is None or not 0 <= score <= 100:
        return ""
    low, high = interval or (score, score)
    told = f"{score:.2f}" + (f", 95% interval {low:.1f} to {high:.1f}" if interval else "")
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 204 16" width="204" height="16" role="img" '
            f'aria-label="{told}"><title>{told}</title>',
            '<line x1="2" x2="202" y1="8" y2="8" stroke="currentColor" stroke-opacity="0.25"/>',
            *(f'<line x1="{2 + 2 * at}" x2="{2 + 2 * at}" y1="5" y2="11" {_FAINT}/>' for at in (0, 25, 50, 75, 100)),
            f'<rect x="{2 + 2 * low:.1f}" y="5" width="{2 * (high - low):.1f}" height="6" rx="3" '
            f'fill="{COLOURS[0]}" fill-opacity="0.35"/>',
            f'<circle cx="{2 + 2 * score:.1f}" cy="8" r="4" fill="{COLOURS[0]}"/></svg>',
        )
    )


def phase_bar(times: Mapping[str, float]) -> str:
    """Seconds per phase as the parts of one bar, in their order; empty without any."""
    total = sum(times.values())
    if total <= 0:
        return ""
    parts = [*_open("Time per phase", 52 + 16 * ((len(times) - 1) // 4))]
    x = 0.0
    for number, (phase, seconds) in enumerate(times.items()):
        width = _WIDTH * seconds / total
        title = escape(f"{phase}: {seconds:.2f} s, {seconds / total:.0%}")
        box = f'x="{x:.2f}" y="4" width="{width:.2f}" height="22"'
        parts.append(f'<rect {box} fill="{_colour(number)}"><title>{title}</title></rect>')
        x += width
    parts += [*_legend([f"{phase} {seconds:.2f} s" for phase, seconds in times.items()], 46), "</svg>"]
    return "".join(parts)


def histogram(values: Sequence[float], title: str, unit: str = "seconds") -> str:
    """How often which value came, in bins of equal width; its percentiles in the title. Empty without values."""
    if not values:
        return ""
    ordered = sorted(values)
    top = ordered[-1] or 1.0
    counts = [0] * _BINS
    for value in ordered:
        counts[min(_BINS - 1, int(value / top * _BINS))] += 1
    told = ", ".join(f"p{part} {short(_percentile(ordered, part))}" for part in (50, 90, 99))
    return _framed(f"{title}: {told} {unit}", unit, top, max(counts), _bars(counts))


def steps(points: Sequence[tuple[float, float, str]], title: str) -> str:
    """A value that stays until it changes: (seconds, value, why); empty without points."""
    if not points:
        return ""
    end = points[-1][0] * 1.05 or 1.0
    high = max(value for _, value, _ in points) or 1.0
    return _framed(title, "seconds", end, high, _stairs(points, end, high))


def _stairs(points: Sequence[tuple[float, float, str]], end: float, high: float) -> Iterator[str]:
    corners = []
    for number, (seconds, value, _) in enumerate(points):
        until = points[number + 1][0] if number + 1 < len(points) else end
        corners += [f"{_x(seconds, end):.1f},{_y(value, high):.1f}", f"{_x(until, end):.1f},{_y(value, high):.1f}"]
    yield f'<polyline points="{" ".join(corners)}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>'
    for seconds, value, why in points:
        place = f'cx="{_x(seconds, end):.1f}" cy="{_y(value, high):.1f}"'
        told = escape(f"{seconds:.1f} s: {value:g}, {why}")
        yield f'<circle {place} r="4" fill="{COLOURS[0]}"><title>{told}</title></circle>'


def _bars(counts: Sequence[int]) -> Iterator[str]:
    width = (_WIDTH - _LEFT - _RIGHT) / len(counts)
    for number, count in enumerate(counts):
        y = _y(count, max(counts))
        height = _HEIGHT - _BOTTOM - y
        place = f'x="{_LEFT + number * width + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"'
        yield f'<rect {place} fill="{COLOURS[0]}" fill-opacity="0.75"><title>{count}</title></rect>'


def _framed(title: str, unit: str, right: float, high: float, drawn: Iterator[str]) -> str:
    axes = [
        f'<text x="0" y="14" {_INK}>{escape(title)}</text>',
        *(_y_mark(value, high) for value in _marks(high)),
        *(_x_mark(value, right) for value in _marks(right)),
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end" {_INK}>{escape(unit)}</text>',
    ]
    return "".join([*_open(title, _HEIGHT), *axes, *drawn, "</svg>"])


def _y_mark(value: float, high: float) -> str:
    y = _y(value, high)
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" {_FAINT}/>'
    return f'{line}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {_INK}>{short(value)}</text>'


def _x_mark(value: float, right: float) -> str:
    y = _HEIGHT - _BOTTOM + 14
    return f'<text x="{_x(value, right):.1f}" y="{y}" text-anchor="middle" {_INK}>{short(value)}</text>'


def _marks(top: float) -> list[float]:
    step = nice_step(top)
    return [number * step for number in range(math.floor(top / step + 1e-9) + 1)]


def _open(title: str, height: int) -> Iterator[str]:
    told = escape(title, {'"': "&quot;"})
    box = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{told}">'


def _legend(names: Sequence[str], y: int) -> Iterator[str]:
    """Four names to a line."""
    for number, name in enumerate(names):
        x, line = _WIDTH / 4 * (number % 4), y + 16 * (number // 4)
        yield f'<rect x="{x:.1f}" y="{line - 9}" width="10" height="10" fill="{_colour(number)}"/>'
        yield f'<text x="{x + 14:.1f}" y="{line}" {_INK}>{escape(name)}</text>'


def _x(value: float, right: float) -> float:
    return _LEFT + value / right * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - value / high * (_HEIGHT - _TOP - _BOTTOM)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _percentile(ordered: Sequence[float], part: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * part // 100)]
