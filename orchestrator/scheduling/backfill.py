"""Past the head of the queue, what does not delay it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.scheduling.draft import Draft
from orchestrator.scheduling.gpu_sets import members
from orchestrator.scheduling.holders import UNKNOWN
from orchestrator.scheduling.order import may_overtake
from orchestrator.scheduling.reservation import Reservation, Step
from orchestrator.scheduling.servers import Server
from orchestrator.scheduling.snapshot import Waiting


def backfill(draft: Draft, reservation: Reservation, head: Waiting, behind: Sequence[Waiting]) -> None:
    """Start later jobs with what the head's reservation leaves; the last place of `max_running` is the head's too."""
    latest = _LatestEnds(draft, reservation)
    now, servers, free = draft.now, draft.servers, frozenset(members(draft.free))
    for job in behind:
        # First comparisons only, as most of a long queue ends here. What is free only becomes less meanwhile.
        too_long = now + (job.expected_seconds or UNKNOWN) > latest[job.gpus]
        if (too_long or not free.issuperset(job.explicit or ())) and job.serve_key not in servers:
            continue
        if draft.places < 2:
            return
        if job.not_before <= now and job.id not in draft.started and (lent := _lend(draft, reservation, head, job)):
            reservation = lent
            latest = _LatestEnds(draft, reservation)


class _LatestEnds(dict[int, float]):
    """By number of GPUs, the latest end of a job that may get as many: thousands of jobs need one of a few numbers."""

    def __init__(self, draft: Draft, reservation: Reservation) -> None:
        self._free, self._reservation = draft.free, reservation

    def __missing__(self, count: int) -> float:
        return self.setdefault(count, self._reservation.latest_end(count, self._free))


def _lend(draft: Draft, reservation: Reservation, head: Waiting, job: Waiting) -> Reservation | None:
    """Start a job that does not delay the head; the reservation after it, None where the job waits."""
    end = draft.end_of(job)
    step = reservation.until(end)
    server = next((place for place in draft.servers.get(job.serve_key, ()) if _may_use(place, step, head, job)), None)
    if server:
        draft.use(job, server)
        return reservation.lend(server.gpus.bit_count(), end)
    if job.gpus > max(step.room, 0):
        return None
    gpus = draft.choose(job, draft.free & ~step.kept) if job.gpus else 0
    if job.gpus and not gpus:
        return None
    draft.start(job, gpus)
    return reservation.lend(job.gpus, end)


def _may_use(server: Server, step: Step, head: Waiting, job: Waiting) -> bool:
    """A server that stays anyway, one that the head does not need that long, or for one of its few followers."""
    harmless = server.gpus.bit_count() <= step.room and not server.gpus & step.kept
    return not server.gpus or harmless or may_overtake(job, head)
