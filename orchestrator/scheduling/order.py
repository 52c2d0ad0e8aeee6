"""The order of the queue, and how far the users of a running server may come before it."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from orchestrator.scheduling.snapshot import Waiting

FOLLOWERS = 8
"""A job may be overtaken by one that uses a running server and was submitted at most so many submissions after it.

The bound is on what was submitted, not on who waits now: however many such jobs arrive, it is overtaken by eight at
most. Loading a model again costs minutes, so it is worth a little disorder."""


def in_order(waiting: Iterable[Waiting]) -> list[Waiting]:
    """The highest priority first; of equal ones, the first submitted."""
    # Two stable sorts by one number each: several times as fast as one by a pair of them.
    by_order = sorted(waiting, key=attrgetter("order"))
    return sorted(by_order, key=attrgetter("priority"), reverse=True)


def may_overtake(follower: Waiting, job: Waiting) -> bool:
    """Whether `follower`, behind `job`, may use a running server although `job` needs the server's GPUs."""
    return follower.priority == job.priority and follower.order - job.order <= FOLLOWERS
