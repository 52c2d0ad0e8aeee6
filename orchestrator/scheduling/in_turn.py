"""Jobs start in the order of the queue, until one does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.scheduling.draft import Draft, could_fit
from orchestrator.scheduling.gpu_sets import gpu_set
from orchestrator.scheduling.order import FOLLOWERS, may_overtake
from orchestrator.scheduling.servers import Server
from orchestrator.scheduling.snapshot import Waiting


def serve_in_turn(draft: Draft, queue: Sequence[Waiting]) -> int | None:
    """Start what fits, one after the other; the index of the head, the first that does not whatever is stopped for it.

    None: everything was served, or as many run as may.
    """
    for at, job in enumerate(queue):
        if not draft.places:
            return None
        if job.not_before > draft.now or job.id in draft.started:
            continue
        if not _serve(draft, job, queue[at + 1 : at + 1 + FOLLOWERS]):
            return at
    return None


def _serve(draft: Draft, job: Waiting, next_jobs: Sequence[Waiting]) -> bool:
    """Start a job, or set aside what it needs, where that is possible; one that waits for more is passed over."""
    if places := draft.servers.get(job.serve_key):
        draft.use(job, places[0])
    elif not job.gpus:
        draft.start(job, 0)
    elif gpus := draft.choose(job, draft.free):
        draft.start(job, gpus)
    elif could_fit(job, draft.reach):
        return _serve_by_stopping(draft, job, next_jobs)
    return True


def _serve_by_stopping(draft: Draft, job: Waiting, next_jobs: Sequence[Waiting]) -> bool:
    """Stop idle servers for a job; those that a job close behind can use are used first."""
    while (stopping := _to_stop(draft, job, next_jobs)) is not None:
        follower = next(_followers(draft, job, next_jobs, stopping), None)
        if follower is None or draft.places < 2:
            draft.set_aside(job, stopping)
            return True
        draft.use(*follower)
    return False


def _to_stop(draft: Draft, job: Waiting, next_jobs: Sequence[Waiting]) -> Sequence[Server] | None:
    """The idle servers to stop so that a job fits, those without a follower first; None where it cannot fit."""
    if job.explicit is not None:
        wanted = gpu_set(job.explicit)
        possible = not wanted & ~(draft.free | draft.coming | draft.stoppable)
        return [server for server in draft.idle.values() if server.gpus & wanted] if possible else None
    missing = job.gpus - (draft.free | draft.coming).bit_count()
    stopping: list[Server] = []
    for server in sorted(draft.idle.values(), key=lambda idle: any(_followers(draft, job, next_jobs, [idle]))):
        if missing > 0:
            stopping.append(server)
            missing -= server.gpus.bit_count()
    return None if missing > 0 else list(_needed(stopping, -missing))


def _needed(stopping: Sequence[Server], over: int) -> Iterator[Server]:
    """Those without which the others would not do; together they free `over` GPUs too many. The last is needed."""
    for server in reversed(stopping):
        if server.gpus.bit_count() <= over:
            over -= server.gpus.bit_count()
        else:
            yield server


def _followers(
    draft: Draft, job: Waiting, next_jobs: Sequence[Waiting], servers: Sequence[Server]
) -> Iterator[tuple[Waiting, Server]]:
    for follower in next_jobs:
        if may_overtake(follower, job) and follower.not_before <= draft.now and follower.id not in draft.started:
            yield from ((follower, server) for server in servers if server.key == follower.serve_key)
