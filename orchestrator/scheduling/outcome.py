"""A decision with what led to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.scheduling.backfill import backfill
from orchestrator.scheduling.draft import Draft
from orchestrator.scheduling.in_turn import serve_in_turn
from orchestrator.scheduling.order import in_order
from orchestrator.scheduling.reservation import Reservation
from orchestrator.scheduling.snapshot import Snapshot, Waiting


@dataclass(frozen=True, slots=True)
class Head:
    """The first job that does not fit."""

    job: Waiting
    free: int
    """The set of GPUs that were free when its turn came."""
    reservation: Reservation
    """What was kept for it then."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who starts, and what the others wait for."""

    snapshot: Snapshot
    queue: Sequence[Waiting]
    """In order, those that start included."""
    draft: Draft
    head: Head | None


def settle(snapshot: Snapshot) -> Outcome:
    """Decide about every job."""
    queue = in_order(snapshot.waiting)
    draft = Draft(snapshot, queue)
    at = serve_in_turn(draft, queue)
    if at is None:
        return Outcome(snapshot, queue, draft, None)
    head = Head(queue[at], draft.free, draft.reserve(queue[at]))
    backfill(draft, head.reservation, head.job, queue[at + 1 :])
    return Outcome(snapshot, queue, draft, head)
