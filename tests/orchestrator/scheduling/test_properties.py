"""What holds for every queue on every node. The first failing example is shrunk to a small one."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling import Snapshot, decide, explain
from tests.orchestrator.scheduling.strategies import NOW, snapshots, submissions, waiting_jobs
from tests.orchestrator.scheduling.support import Cluster, Submission, check, started

NODE = tuple(range(6))
brief = settings(max_examples=100, deadline=None, derandomize=True)
"""The same examples in each run: a failure in CI is one at the desk."""
thorough = settings(brief, max_examples=200)


@brief
@given(snapshots())
def test_every_decision_gives_only_what_is_free_and_only_to_those_that_may_have_it(snapshot: Snapshot) -> None:
    check(snapshot, decide(snapshot))


@brief
@given(snapshots(), st.randoms(use_true_random=False))
def test_a_decision_is_the_same_whatever_the_order_of_the_tuples(snapshot: Snapshot, random: Random) -> None:
    def shuffled(items: tuple) -> tuple:
        return tuple(random.sample(items, len(items)))

    other = replace(
        snapshot,
        gpus=shuffled(snapshot.gpus),
        waiting=shuffled(snapshot.waiting),
        running=shuffled(snapshot.running),
        deployments=shuffled(snapshot.deployments),
    )
    assert decide(other) == decide(snapshot)


@brief
@given(snapshots())
def test_any_waiting_job_is_explained_as_in_the_decision(snapshot: Snapshot) -> None:
    for job, sentence in decide(snapshot).why.items():
        assert explain(snapshot, job) == sentence


@st.composite
def roomy_nodes(draw: st.DrawFn) -> Snapshot:
    """A node on which all that waits fits side by side: each job's GPUs are dealt to it, some by their index."""
    gpus = draw(st.permutations(range(draw(st.integers(1, 24)))))
    waiting, left = [], list(gpus)
    while left:
        count = draw(st.integers(0, min(5, len(left))))
        mine, left = left[:count], left[max(count, 1) :]
        job = draw(waiting_jobs((), len(waiting)))
        explicit = tuple(mine) if mine and draw(st.booleans()) else None
        waiting.append(replace(job, gpus=count, explicit=explicit))
    return Snapshot(NOW, tuple(gpus), frozenset(), tuple(waiting), ())


@brief
@given(roomy_nodes())
def test_where_everything_fits_everything_starts(snapshot: Snapshot) -> None:
    assert sorted(started(decide(snapshot))) == sorted(job.id for job in snapshot.waiting)


@brief
@given(submissions(NODE, truthful=False), st.sampled_from([0.0, 3.0, 40.0]), st.one_of(st.none(), st.integers(1, 4)))
def test_every_job_starts_in_the_end_however_wrong_the_estimates(
    queue: list[Submission], keep_alive: float, max_running: int | None
) -> None:
    starts = Cluster(NODE, queue, keep_alive=keep_alive, max_running=max_running).run()
    assert starts.keys() == {one.job.id for one in queue}


@thorough
@given(submissions(NODE, truthful=True), submissions(NODE, truthful=True), st.one_of(st.none(), st.integers(1, 4)))
def test_the_head_starts_no_later_than_without_those_behind_it(
    queue: list[Submission], later: list[Submission], max_running: int | None
) -> None:
    """The first job that has to wait, with and without all that comes behind it in the queue, now or later."""
    firsts = [replace(one, at=0.0, job=replace(one.job, priority=1)) for one in queue]
    head = first_that_waits(firsts, max_running)
    if head is None:
        return
    behind = [behind_them(one, len(firsts)) for one in later]
    with_all = Cluster(NODE, [*firsts, *behind], max_running=max_running).run()
    alone = Cluster(NODE, firsts[: head + 1], max_running=max_running).run()
    name = firsts[head].job.id
    assert with_all[name] <= alone[name]


def first_that_waits(queue: list[Submission], max_running: int | None) -> int | None:
    waiting = tuple(one.job for one in queue)
    now = set(started(decide(Snapshot(0.0, NODE, frozenset(), waiting, (), max_running=max_running))))
    return next((at for at, one in enumerate(queue) if one.job.id not in now), None)


def behind_them(one: Submission, orders: int) -> Submission:
    order = one.job.order + orders
    return replace(one, job=replace(one.job, id=f"job-{order}", order=order, priority=min(one.job.priority, 1)))
