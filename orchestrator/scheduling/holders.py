"""Who holds the GPUs that are not free, and when they come back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from orchestrator.scheduling.gpu_sets import gpu_set
from orchestrator.scheduling.snapshot import Deployment, Snapshot

UNKNOWN = math.inf
"""The end of what may come back at any moment, or never: nothing may be built on it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """GPUs that come back together."""

    name: str
    """As people know it: `job-7`."""
    gpus: int
    """A set, see gpu_sets; never empty."""
    end: float
    """When they come back; UNKNOWN also for what should have come back already."""
    lasting: bool = False
    """A deployment that stays until somebody deletes it: nobody waits for its GPUs."""


def holders_of(snapshot: Snapshot, usable: int) -> list[Holder]:
    """The holders of GPUs in `usable`, disjoint. An idle server is none: it can be stopped."""
    found, claimed = [], 0
    for claim in _claims(snapshot):
        gpus = claim.gpus & usable & ~claimed
        if gpus:
            found.append(claim if gpus == claim.gpus else replace(claim, gpus=gpus))
            claimed |= gpus
    return found


def is_idle(deployment: Deployment) -> bool:
    """Only kept alive in case that a job comes, and nobody uses it."""
    return deployment.idle_until is not None and not deployment.in_use_by


def _claims(snapshot: Snapshot) -> Iterator[Holder]:
    # Deployments first: a job that runs on the server that it started lists the same GPUs, which stay with the server.
    ends = {attempt.id: attempt.expected_end for attempt in snapshot.running}
    for deployment in sorted(snapshot.deployments, key=lambda deployment: deployment.id):
        if not is_idle(deployment):
            end = _end([ends.get(job) for job in deployment.in_use_by], snapshot.now)
            yield Holder(deployment.id, gpu_set(deployment.gpus), end, lasting=deployment.idle_until is None)
    for attempt in sorted(snapshot.running, key=lambda attempt: attempt.id):
        if attempt.gpus:
            yield Holder(attempt.id, gpu_set(attempt.gpus), _end([attempt.expected_end], snapshot.now))
    inventory = set(snapshot.gpus)
    for gpu in sorted(snapshot.taken & inventory):
        yield Holder("another command", 1 << gpu, UNKNOWN)


def _end(ends: Iterable[float | None], now: float) -> float:
    """The last of these; UNKNOWN where one is, or is overdue."""
    return max((end if end is not None and end > now else UNKNOWN for end in ends), default=UNKNOWN)
