"""The statistics against published figures, against brute force, and against chance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import comb
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.comparing.paired import (
    exact_mcnemar,
    holm,
    independent_interval,
    samples_to_decide,
    score_interval,
)
from orchestrator.comparing.resampling import bootstrap_interval, sign_flip_test

SIMULATIONS = 2000
LEVEL = 0.05


def drawn(random: Random, pairs: int, losing: float, winning: float) -> tuple[int, int]:
    """Lost and won of so many pairs with these true rates."""
    draws = [random.random() for _ in range(pairs)]
    return sum(draw < losing for draw in draws), sum(losing <= draw < losing + winning for draw in draws)


@pytest.mark.parametrize(
    ("lost", "won", "pairs", "confidence", "interval"),
    [
        # Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009), and complete
        # response before and after consolidation (Cavo et al. 2012), as Fagerland, Lydersen and Laake give them.
        (7, 1, 21, 0.95, (-0.517, -0.026)),
        (16, 6, 161, 0.95, (-0.124, -0.0054)),
        # 460 chosen by both methods, 48 by one only, 41 by the other: R's PropCIs::scoreci.mp.
        (41, 48, 549, 0.9, (-0.0157, 0.0414)),
    ],
)
def test_the_interval_is_the_published_one(
    lost: int, won: int, pairs: int, confidence: float, interval: tuple[float, float]
) -> None:
    assert score_interval(lost, won, pairs, confidence) == pytest.approx(interval, abs=6e-4)


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(7, 1, 0.0703), (16, 6, 0.0525), (0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64)]
)
def test_mcnemars_p_is_the_published_one(lost: int, won: int, p: float) -> None:
    assert exact_mcnemar(lost, won) == pytest.approx(p, abs=5e-5)


def test_newcombes_interval_of_unrelated_samples_is_the_published_one() -> None:
    # 56/70 and 48/80: example (a) of Newcombe 1998, method 10.
    assert independent_interval((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemars_p_is_the_share_of_coin_tosses_that_are_as_uneven(lost: int, won: int) -> None:
    flips, seen = lost + won, abs(won - lost)
    as_uneven = sum(comb(flips, heads) for heads in range(flips + 1) if abs(2 * heads - flips) >= seen)
    assert exact_mcnemar(lost, won) == pytest.approx(as_uneven / 2**flips)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_the_interval_holds_what_was_seen_and_turns_with_the_sides(lost: int, won: int, same: int) -> None:
    pairs = max(1, lost + won + same)
    low, high = score_interval(lost, won, pairs)
    assert -1 <= low <= (won - lost) / pairs <= high <= 1
    assert score_interval(won, lost, pairs) == pytest.approx((-high, -low))


def test_without_any_flip_the_interval_is_as_wide_as_few_samples_leave_it() -> None:
    z = 1.959964
    assert score_interval(0, 0, 200) == pytest.approx((-z * z / (200 + z * z), z * z / (200 + z * z)), abs=1e-6)


@pytest.mark.parametrize(("pairs", "losing", "winning"), [(50, 0.1, 0.1), (200, 0.02, 0.02), (200, 0.15, 0.05)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(pairs: int, losing: float, winning: float) -> None:
    random = Random(7)
    held = 0
    for _ in range(SIMULATIONS):
        low, high = score_interval(*drawn(random, pairs, losing, winning), pairs)
        held += low <= winning - losing <= high
    assert 0.935 <= held / SIMULATIONS <= 0.985


@pytest.mark.parametrize(("pairs", "rate"), [(200, 0.02), (200, 0.1), (1000, 0.1)])
def test_without_a_difference_a_false_one_is_found_no_more_often_than_the_level(pairs: int, rate: float) -> None:
    random = Random(11)
    false = sum(exact_mcnemar(*drawn(random, pairs, rate, rate)) < LEVEL for _ in range(SIMULATIONS))
    assert false / SIMULATIONS <= LEVEL


def test_many_data_sets_without_a_difference_seldom_show_any_after_holms_correction() -> None:
    random = Random(13)
    raw = corrected = 0
    for _ in range(300):
        values = [exact_mcnemar(*drawn(random, 200, 0.1, 0.1)) for _ in range(20)]
        raw += min(values) < LEVEL
        corrected += min(holm(values)) < LEVEL
    assert raw / 300 > 0.3
    assert corrected / 300 <= LEVEL


def test_holms_correction_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_values_are_no_smaller_no_more_than_one_and_in_the_same_order(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(value <= one <= 1 for value, one in zip(values, adjusted, strict=True))
    ranks = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[index] for index in ranks] == sorted(adjusted)


@pytest.mark.parametrize(("lost", "won", "limit"), [(10, 8, -0.02), (2, 2, -0.02), (24, 16, -0.01), (30, 10, 0.0)])
def test_the_number_of_samples_named_decides_four_times_out_of_five(lost: int, won: int, limit: float) -> None:
    pairs = 400
    need = samples_to_decide(lost, won, pairs, limit=limit)
    assert need
    losing, winning = (lost + 1) / (pairs + 2), (won + 1) / (pairs + 2)
    random = Random(17)
    decided = 0
    for _ in range(200):
        low, high = score_interval(*drawn(random, need, losing, winning), need)
        decided += low > limit or high < limit
    assert 0.72 <= decided / 200 <= 0.9


def test_no_number_of_samples_decides_what_lies_on_the_limit() -> None:
    assert samples_to_decide(5, 5, 100, limit=0.0) is None


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_the_sign_flip_test_is_the_share_of_all_patterns_of_signs(differences: list[int]) -> None:
    sums = [abs(sum(map(int.__mul__, differences, signs))) for signs in product((-1, 1), repeat=len(differences))]
    expected = sum(one >= abs(sum(differences)) for one in sums) / len(sums)
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_random_signs_come_near_to_all_signs_and_tell_the_same_each_time() -> None:
    random = Random(3)
    differences = [random.gauss(0.4, 1) for _ in range(14)]
    exact = sign_flip_test(differences)
    padded = [*differences, 1e-9]  # one more than are enumerated
    assert sign_flip_test(padded) == pytest.approx(exact, abs=0.02)
    assert sign_flip_test(padded) == sign_flip_test(padded)


def _even(random: Random) -> float:
    return random.gauss(0, 1)


def _skewed(random: Random) -> float:
    return random.expovariate(1) - random.expovariate(1)


@pytest.mark.parametrize("draw", [_even, _skewed])
def test_sign_flips_find_no_more_false_differences_than_the_level(draw: Callable[[Random], float]) -> None:
    random = Random(19)
    false = sum(sign_flip_test([draw(random) for _ in range(10)]) < LEVEL for _ in range(500))
    assert false / 500 <= LEVEL + 0.02


def test_the_bootstrap_interval_is_the_normal_one_where_that_holds() -> None:
    random = Random(23)
    differences = [random.gauss(2, 5) for _ in range(400)]
    low, high = bootstrap_interval(differences) or (0, 0)
    half = 1.96 * 5 / 20
    assert (low, high) == pytest.approx((fmean(differences) - half, fmean(differences) + half), abs=0.1)
    assert bootstrap_interval([1.0]) is None
