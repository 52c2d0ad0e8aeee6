"""Statistics of two engines that were asked the same questions, each answer right or wrong.

Of `pairs` questions the variant `lost` some (the baseline was right, it was wrong) and `won` some (the reverse).
Differences are shares, variant less baseline. Nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, sqrt
from statistics import NormalDist

from orchestrator.results import wilson_interval

POWER = 0.8
"""Chance that the number of samples which is named really decides, if the rates seen are the true ones."""
MOST_SAMPLES = 10_000_000
"""More than that is no advice."""
_STEPS = 60  # bisections: to the last digit of a float


def exact_mcnemar(lost: int, won: int) -> float:
    """Two-sided p of McNemar's exact test: without a difference, each flip is a fair coin (binomial).

    It never finds more false differences than its level allows, and is a little shy with few flips (McNemar 1947,
    Psychometrika 12:153; Fagerland et al. 2013, BMC Med Res Methodol 13:91).
    """
    flips = lost + won
    ways, total = 1, 0
    for fewer in range(min(lost, won) + 1):
        total += ways
        ways = ways * (flips - fewer) // (fewer + 1)
    return min(1.0, 2 * total / (1 << flips))


def score_interval(lost: float, won: float, pairs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Tango's score interval of the paired difference, in shares from -1 to 1 (Tango 1998, Stat Med 17:891).

    It holds with few or no flips too: without any it is plus and minus z²/(pairs + z²). It inverts the asymptotic
    test, so at the border it may leave out 0 where the exact one does not. Parts of flips make it wider than it
    need be, as they vary less than whole ones.
    """
    z = _z((1 + confidence) / 2)
    seen = (won - lost) / pairs

    def inside(delta: float) -> bool:
        distance = won - lost - pairs * delta
        return distance * distance <= z * z * _variance(delta, lost, won, pairs)

    return _edge(inside, seen, -1.0), _edge(inside, seen, 1.0)


def independent_interval(
    baseline: tuple[int, int], variant: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's interval of a difference between unrelated samples, each (right, asked) (1998, Stat Med 17:873)."""
    first, second = _share(baseline, confidence), _share(variant, confidence)
    seen = second[0] - first[0]
    below = sqrt((second[0] - second[1]) ** 2 + (first[2] - first[0]) ** 2)
    above = sqrt((second[2] - second[0]) ** 2 + (first[0] - first[1]) ** 2)
    return seen - below, seen + above


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests adjusted so that a false finding among all of them is as rare as in one.

    Holm's step-down procedure (1979, Scand J Stat 6:65), in the order given.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def samples_to_decide(
    lost: float, won: float, pairs: int, *, limit: float = 0.0, confidence: float = 0.95, power: float = POWER
) -> int | None:
    """Pairs that would show, with chance `power`, on which side of `limit` the difference is.

    `limit` is a share, e.g. -0.01 for a drop of one point. Sample size of the score test (Nam 1997, Biometrics
    53:1422), at the difference that was seen and the rates of losing and winning with one flip of each kind added, so
    that no flips mean few and not none. None: the difference seen is so near to the limit that no number of samples is
    of use.
    """
    losing, winning, every = lost + 1, won + 1, pairs + 2
    difference = (won - lost) / pairs
    seen = (losing + winning) / every - difference * difference
    at_limit = _variance(limit, losing, winning, every) / every
    reach = _z((1 + confidence) / 2) * sqrt(at_limit) + _z(power) * sqrt(seen)
    return _squared(reach, difference - limit)


def samples_for(distance: float, variance: float, *, confidence: float = 0.95, power: float = POWER) -> int | None:
    """Pairs that tell a mean from a value `distance` away, if single differences have this variance; else None."""
    return _squared((_z((1 + confidence) / 2) + _z(power)) * sqrt(variance), distance)


def _squared(reach: float, distance: float) -> int | None:
    """(reach / distance)², rounded up."""
    if reach * reach > MOST_SAMPLES * distance * distance:
        return None
    return max(1, ceil(reach * reach / (distance * distance)))


def _variance(delta: float, lost: float, won: float, pairs: int) -> float:
    """Of won - lost if the true difference is `delta`; the rate of losing is then at its most likely."""
    linear = (2 * pairs - won + lost) * delta - won - lost
    constant = -lost * delta * (1 - delta)
    root = sqrt(max(0.0, linear * linear - 8 * pairs * constant))
    losing = (root - linear) / (4 * pairs)
    return max(0.0, pairs * (2 * losing + delta * (1 - delta)))


def _edge(inside: Callable[[float], bool], within: float, beyond: float) -> float:
    """Where, between a point within and one beyond, the interval ends."""
    for _ in range(_STEPS):
        middle = (within + beyond) / 2
        within, beyond = (middle, beyond) if inside(middle) else (within, middle)
    return within


def _share(counts: tuple[int, int], confidence: float) -> tuple[float, float, float]:
    """The share and its interval (Wilson)."""
    right, asked = counts
    low, high = wilson_interval(right, asked, confidence) or (0.0, 100.0)
    return right / asked, low / 100, high / 100


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
