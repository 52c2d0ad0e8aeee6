"""What the head of the queue keeps others from: a later job may start only where the head cannot start later for it.

Where the ends of what runs are known, so is the head's start: GPUs that it will not need then may be used for any time,
the others until then. What has no known end may come back at any moment, in any order: then only as many GPUs may be
used as are over at *every* moment at which the head could start. A head that needs 4, beside 2 free GPUs and a running
job of 6, lends those 2: when the six come back it has enough. Beside three jobs of 2 it lends none: the first that ends
lets it start.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.scheduling.holders import UNKNOWN, Holder

NO_LIMIT = sys.maxsize


@dataclass(frozen=True, slots=True)
class Step:
    """What others may hold from some moment on."""

    since: float
    room: int
    """GPUs, of those that the head counts on."""
    kept: int = 0
    """A set of GPUs that are kept for it whatever their number."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The steps, each tighter than the one before; before the first there is no limit."""

    steps: tuple[Step, ...]
    start: float
    """When the head starts, as far as ends are known; else UNKNOWN."""

    def until(self, end: float) -> Step:
        """What a job may hold that ends then."""
        passed = bisect_left(self.steps, end, key=lambda step: step.since)
        return self.steps[passed - 1] if passed else Step(end, NO_LIMIT)

    def latest_end(self, count: int, free: int) -> float:
        """When a job must be over, at the latest, that gets `count` of these free GPUs; never where it cannot."""
        if count > free.bit_count():
            return -math.inf
        tight = (step.since for step in self.steps if count > min(max(step.room, 0), (free & ~step.kept).bit_count()))
        return next(tight, UNKNOWN)

    def lend(self, count: int, end: float) -> Reservation:
        """The reservation after a job got `count` of those GPUs until `end`."""
        less = (replace(step, room=step.room - count) if step.since < end else step for step in self.steps)
        return replace(self, steps=_tightening(less))


def reserve_any(count: int, free: int, holders: Iterable[Holder], now: float) -> Reservation:
    """For a head that needs any `count` GPUs, more than the `free` ones (a number), and gets them from `holders`."""
    sizes = [(holder.end, holder.gpus.bit_count()) for holder in holders if not holder.lasting]
    sums = _sums(size for end, size in sizes if end == UNKNOWN)
    returning = Counter({now: free})
    for end, size in sizes:
        if end != UNKNOWN:
            returning[end] += size
    steps: list[Step] = []
    here = 0
    for moment in sorted(returning):
        here += returning[moment]
        if here >= count:
            return Reservation(_tightening([*steps, Step(moment, here - count)]), start=moment)
        steps += _spare(moment, count - here, sums)
    return Reservation(_tightening(steps), start=UNKNOWN)


def reserve_these(gpus: int, holders: Iterable[Holder], now: float) -> Reservation:
    """For a head that needs exactly these GPUs: they may be used until the last known end among them."""
    ends = [holder.end for holder in holders if holder.gpus & gpus]
    since = max((end for end in ends if end != UNKNOWN), default=now)
    return Reservation((Step(since, NO_LIMIT, kept=gpus),), start=UNKNOWN if UNKNOWN in ends else since)


def _sums(sizes: Iterable[int]) -> int:
    """Every number of GPUs that may have come back, as bits: any of the holders, in any order."""
    sums = 1
    for size in sizes:
        sums |= sums << size
    return sums


def _spare(moment: float, short: int, sums: int) -> Sequence[Step]:
    """What is over when just enough has come back by chance; no step where that cannot be."""
    enough = sums >> short
    return [Step(moment, (enough & -enough).bit_length() - 1)] if enough else []


def _tightening(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(_each_tighter(steps))


def _each_tighter(steps: Iterable[Step]) -> Iterator[Step]:
    room = NO_LIMIT + 1
    for step in steps:
        if step.room < room:
            room = step.room
            yield step
