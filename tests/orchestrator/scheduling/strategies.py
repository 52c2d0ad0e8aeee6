"""Snapshots and submissions for hypothesis: a node of up to a dozen GPUs, so that it is full most of the time."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from orchestrator.scheduling import Deployment, Running, Snapshot, Waiting
from tests.orchestrator.scheduling.support import Submission

NOW = 100.0
KEYS = st.sampled_from(["a", "b", "c"])
SECONDS = st.one_of(st.none(), st.integers(1, 60).map(float), st.integers(1, 60).map(float))
"""An estimate, whole seconds, so that sums of them are exact."""
ENDS = st.one_of(st.none(), st.integers(90, 160).map(float))
"""Expected ends around NOW: some are overdue."""


@st.composite
def waiting_jobs(draw: st.DrawFn, gpus: Sequence[int], order: int, priorities: int = 2) -> Waiting:
    explicit = None
    if gpus and draw(st.integers(0, 4)) == 0:
        explicit = tuple(draw(st.lists(st.sampled_from(gpus), min_size=1, max_size=4, unique=True)))
    sizes = st.one_of(st.integers(0, len(gpus)), st.integers(0, min(2, len(gpus))))
    count = draw(sizes) if explicit is None else len(explicit)
    priority = draw(st.integers(0, priorities))
    return Waiting(f"job-{order}", priority, order, count, explicit, draw(KEYS), draw(SECONDS))


@st.composite
def odd_jobs(draw: st.DrawFn, gpus: Sequence[int], order: int) -> Waiting:
    """Any job, such as one in backoff or one that can never fit."""
    explicit = draw(st.one_of(st.none(), st.sets(st.integers(0, 20), min_size=1, max_size=3).map(tuple)))
    count = draw(st.integers(0, 20)) if explicit is None else len(explicit)
    not_before = draw(st.sampled_from([0.0, NOW, NOW + 5]))
    return Waiting(f"job-{order}", draw(st.integers(0, 2)), order, count, explicit, draw(KEYS), None, not_before)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    gpus = draw(st.lists(st.integers(0, 20), max_size=12, unique=True))
    left = list(gpus)
    taken = frozenset(_some(draw, left))
    running = [_running(draw, number, left) for number in range(draw(st.integers(0, 4)))]
    deployments = [_deployment(draw, number, left) for number in range(draw(st.integers(0, 3)))]
    orders = draw(st.lists(st.integers(0, 40), max_size=12, unique=True))
    waiting = [draw(st.one_of(waiting_jobs(gpus, order), odd_jobs(gpus, order))) for order in orders]
    limit = draw(st.one_of(st.none(), st.integers(0, 8)))
    return Snapshot(NOW, tuple(gpus), taken, tuple(waiting), tuple(running), tuple(deployments), max_running=limit)


@st.composite
def submissions(draw: st.DrawFn, gpus: Sequence[int], *, truthful: bool) -> list[Submission]:
    """Up to 10 jobs that arrive over half a minute; with `truthful`, an estimate is exactly what a job takes."""
    found = []
    moments = sorted(draw(st.lists(st.integers(0, 30), min_size=2, max_size=10)))
    for order, moment in enumerate(moments):
        job = draw(waiting_jobs(gpus, order))
        seconds = job.expected_seconds if truthful and job.expected_seconds else draw(st.integers(1, 60).map(float))
        found.append(Submission(job, float(moment), seconds))
    return found


def _some(draw: st.DrawFn, left: list[int]) -> tuple[int, ...]:
    """A few of those that are left, which are fewer then."""
    count = draw(st.integers(0, min(4, len(left))))
    some, left[:] = tuple(left[:count]), left[count:]
    return some


def _running(draw: st.DrawFn, number: int, left: list[int]) -> Running:
    return Running(f"running-{number}", _some(draw, left), draw(KEYS), draw(ENDS))


def _deployment(draw: st.DrawFn, number: int, left: list[int]) -> Deployment:
    users = draw(st.integers(1, 2))
    in_use_by = draw(st.sampled_from([(), ("running-0",), ("running-0", "running-1")]))[:users]
    return Deployment(
        f"server-{number}", draw(KEYS), _some(draw, left), draw(st.booleans()), in_use_by, draw(ENDS), users
    )
