"""From the timings of requests to rates and percentiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.spec.speed import Objective
from orchestrator.speed import Percentiles


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in seconds of `asking.clock`."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin

    def share(self, timing: Timing) -> float:
        """How much of a request's time lies in it, 0 to 1."""
        inside = min(self.end, timing.ended) - max(self.begin, timing.began)
        return max(0.0, inside) / max(1e-9, timing.ended - timing.began)


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second of a window."""

    requests: float
    output_tokens: float
    total_tokens: float


def percentiles(values: Iterable[float]) -> Percentiles | None:
    """Mean and percentiles, interpolated between neighbours; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    mean = sum(ordered) / len(ordered)
    return Percentiles(mean=mean, p50=_at(ordered, 0.5), p90=_at(ordered, 0.9), p99=_at(ordered, 0.99))


def average(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def gaps(timing: Timing) -> list[float]:
    """Seconds between two tokens. Where the engine sends several at once each gets an equal part of the gap."""
    together = max(1.0, timing.generated / len(timing.arrivals))
    return [(later - earlier) / together for earlier, later in zip(timing.arrivals, timing.arrivals[1:], strict=False)]


def rates(timings: Sequence[Timing], window: Window) -> Rates:
    """What was done in the window: of a request that lies partly in it, a part; tokens by the moment they came.

    So that a window need not begin and end with whole requests: with a steady number in flight the rate is exact.
    """
    requests = prompt = output = 0.0
    for timing in timings:
        share = window.share(timing)
        requests += share
        prompt += share * (timing.usage[0] if timing.usage else 0)
        came = sum(window.begin < moment <= window.end for moment in timing.arrivals)
        output += came * timing.generated / len(timing.arrivals)
    seconds = max(1e-9, window.seconds)
    return Rates(requests / seconds, output / seconds, (prompt + output) / seconds)


def keeps(timing: Timing, objective: Objective) -> bool:
    """Whether a request kept the objective."""
    return (
        (objective.ttft is None or timing.ttft <= objective.ttft)
        and (objective.inter_token is None or (timing.inter_token or 0.0) <= objective.inter_token)
        and (objective.latency is None or timing.latency <= objective.latency)
    )


def _at(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
