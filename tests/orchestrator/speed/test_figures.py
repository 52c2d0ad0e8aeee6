"""Rates, gaps and percentiles of requests whose times are known."""

from __future__ import annotations

import pytest

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.evaluators.speed.figures import Window, gaps, keeps, percentiles, rates
from orchestrator.spec.speed import Objective


def timing(began: float, first: float, gap: float, tokens: int, *, together: int = 1) -> Timing:
    """A request whose tokens came `together` at a time, the last of them ending it."""
    arrivals = [began + first + gap * number for number in range(tokens // together)]
    found = Timing(began, tokens, ended=arrivals[-1], arrivals=arrivals, finish="length")
    found.usage = (10, tokens)
    return found


def test_a_window_that_cuts_requests_in_the_middle_still_tells_the_exact_rate() -> None:
    # Four at a time, each 1 s long, for 10 s: 4 requests/s and 40 tokens/s, wherever the window is cut.
    timings = [timing(second + worker / 10, 0.1, 0.1, 10) for second in range(10) for worker in range(4)]
    for window in (Window(2.0, 7.0), Window(2.33, 7.05)):
        found = rates(timings, window)
        assert found.requests == pytest.approx(4.0, rel=0.03)
        assert found.output_tokens == pytest.approx(40.0, rel=0.03)
        assert found.total_tokens == pytest.approx(80.0, rel=0.03)


def test_tokens_that_come_together_share_their_gap() -> None:
    single, double = timing(0.0, 0.5, 0.1, 8), timing(0.0, 0.5, 0.2, 8, together=2)
    assert gaps(single) == pytest.approx([0.1] * 7)
    assert gaps(double) == pytest.approx([0.1] * 3)
    assert double.generated == 8


def test_without_usage_a_finish_by_length_tells_the_count_and_else_the_events_do() -> None:
    found = timing(0.0, 0.5, 0.1, 8, together=2)
    found.usage = None
    assert (found.generated, found.counted_by) == (8, "finish_reason")
    found.finish = "stop"
    assert (found.generated, found.counted_by) == (4, "events")


def test_percentiles_lie_between_neighbours() -> None:
    found = percentiles([0.4, 0.1, 0.2, 0.3])
    assert found
    assert (found.mean, found.p50, found.p90, found.p99) == pytest.approx((0.25, 0.25, 0.37, 0.397))
    assert percentiles([]) is None


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        (Objective(), True),
        (Objective(ttft=0.5), True),
        (Objective(ttft=0.49), False),
        (Objective(inter_token=0.11), True),
        (Objective(inter_token=0.09), False),
        (Objective(latency=1.3), True),
        (Objective(latency=1.1), False),
        (Objective(ttft=1.0, latency=1.1), False),
    ],
)
def test_a_request_is_good_only_if_it_keeps_all_that_is_asked(objective: Objective, kept: bool) -> None:
    assert keeps(timing(0.0, 0.5, 0.1, 8), objective) is kept
