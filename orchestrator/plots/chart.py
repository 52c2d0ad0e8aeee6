"""A chart as data: what is drawn, not how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """One line; points are sorted by x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common x axis; the y axis begins at 0."""

    name: str
    """For file names: letters, digits, `-`."""
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_ticks: tuple[float, ...]
    """Where the x axis is labelled: the measured places, which stand at even distances."""

    @property
    def top(self) -> float:
        """The greatest y; 1 when there is none above 0."""
        return max((y for one in self.series for _, y in one.points), default=0.0) or 1.0

    def place(self, x: float) -> float:
        """Where `x` stands between the first tick (0) and the last (1): the ticks are evenly spaced."""
        if len(self.x_ticks) == 1:
            return 0.5
        for number, (low, high) in enumerate(zip(self.x_ticks, self.x_ticks[1:], strict=False)):
            if x <= high:
                return (number + max(0.0, x - low) / (high - low)) / (len(self.x_ticks) - 1)
        return 1.0


def short(value: float) -> str:
    """`129024` as `126k`, `0.0123` as `0.0123`, `1250` as `1250`: what fits below an axis."""
    if value >= 10_000:
        return f"{value / 1024:.0f}k" if value % 1024 == 0 else f"{value / 1000:.3g}k"
    return f"{value:.4g}"


def nice_step(top: float, parts: int = 5) -> float:
    """A round distance (1, 2 or 5 times a power of ten) that divides `top` into about `parts`."""
    raw = top / parts
    power = 1.0
    while power > raw:
        power /= 10
    while power * 10 <= raw:
        power *= 10
    return next((step * power for step in (1, 2, 5) if step * power >= raw), 10 * power)
