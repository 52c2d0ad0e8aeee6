"""Statistics of paired differences that are numbers, not right or wrong: tests and intervals by resampling.

Seeded: the same differences give the same figures. Nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import fsum
from operator import mul
from random import Random
from statistics import fmean

DRAWS = 10_000
"""Resamplings at most."""
_WORK = 10_000_000  # differences looked at in all: a second or two
_FEWEST = 1000
_ENUMERATED = 14  # differences of which every pattern of signs is tried


def sign_flip_test(differences: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p of Fisher's permutation test: without a difference, each sign is a fair coin.

    Exact up to 14 differences that are not 0; beyond that of random signs, the data counted among them, so that p is
    never 0 (Phipson and Smyth 2010, SAGMB 9:39).
    """
    sizes = [abs(value) for value in differences if value]
    seen = abs(fsum(differences)) * (1 - 1e-12)  # equal sums in another order are equal
    if len(sizes) <= _ENUMERATED:
        sums = [abs(fsum(map(mul, sizes, signs))) for signs in product((-1, 1), repeat=len(sizes))]
        return sum(one >= seen for one in sums) / len(sums)
    random, draws = Random(seed), _draws(len(sizes))
    as_far = 0
    for _ in range(draws):
        signs = random.choices((-1, 1), k=len(sizes))
        as_far += abs(fsum(map(mul, sizes, signs))) >= seen
    return (1 + as_far) / (1 + draws)


def bootstrap_interval(
    differences: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean difference by the paired bootstrap (Efron and Tibshirani 1993, chapter 13).

    None below 2 differences.
    """
    if len(differences) < 2:
        return None
    random, draws = Random(seed), _draws(len(differences))
    means = sorted(fmean(random.choices(differences, k=len(differences))) for _ in range(draws))
    outside = (1 - confidence) / 2
    return means[int(outside * draws)], means[min(draws - 1, int((1 - outside) * draws))]


def _draws(size: int) -> int:
    return max(_FEWEST, min(DRAWS, _WORK // size))
