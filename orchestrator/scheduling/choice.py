"""Which free GPUs a job gets, where others ask for some of them by their index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.scheduling.gpu_sets import gpu_set
from orchestrator.scheduling.placement import place
from orchestrator.scheduling.snapshot import Waiting

ONE_BY_ONE = 32
"""Wishes that are looked at one by one, where not all of them can be left free."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The GPUs that waiting jobs ask for by index."""

    all: int
    """The set of all of them."""
    first: tuple[int, ...]
    """The first distinct ones in the order of the queue, a set each."""


def wishes_of(queue: Sequence[Waiting], inventory: frozenset[int]) -> Wishes:
    """The wishes of a queue; GPUs that are not in the inventory are left out."""
    explicit = dict.fromkeys(job.explicit for job in queue if job.explicit)
    known = [gpu_set(inventory.intersection(gpus)) for gpus in list(explicit)[:ONE_BY_ONE]]
    return Wishes(gpu_set(inventory.intersection(set[int]().union(*explicit))), tuple(known))


def choose(job: Waiting, pool: int, wishes: Wishes) -> int:
    """GPUs of `pool` for a job that needs some; 0 where it has not got them.

    Where a job takes any, those that nobody asks for; else those that the last in the queue ask for.
    """
    if job.explicit is not None:
        wanted = gpu_set(job.explicit)
        return 0 if wanted & ~pool else wanted
    if job.gpus > pool.bit_count():
        return 0
    for wanted in (wishes.all, *wishes.first):
        if (pool & ~wanted).bit_count() >= job.gpus:
            pool &= ~wanted
    return place(pool, job.gpus)
