"""Servers that several jobs use in turn."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.scheduling import Deployment, Evict, Running, Start, decide
from orchestrator.scheduling.order import FOLLOWERS
from tests.orchestrator.scheduling.support import Cluster, Submission, job, node, started

KEPT = Deployment("kept", "llama", (0, 1), ready=True, idle_until=400.0)
LASTING = replace(KEPT, id="lasting", idle_until=None)


def test_a_job_uses_the_ready_server_of_what_it_needs() -> None:
    decision = decide(node(4, job(1, 2, key="llama"), deployments=[KEPT]))
    assert decision.starts == (Start("job-1", (), "kept"),)


def test_one_job_at_a_time_uses_a_server_and_the_next_serves_itself() -> None:
    decision = decide(node(4, job(1, 2, key="llama"), job(2, 2, key="llama"), deployments=[KEPT]))
    assert decision.starts == (Start("job-1", (), "kept"), Start("job-2", (2, 3)))


def test_as_many_jobs_use_a_server_side_by_side_as_it_allows() -> None:
    queue = [job(order, 2, key="llama") for order in range(4)]
    shared = replace(LASTING, users=3, in_use_by=("other",))
    assert [start.deployment for start in decide(node(2, *queue, deployments=[shared])).starts] == ["lasting"] * 2


def test_a_server_that_is_not_ready_is_not_used() -> None:
    decision = decide(node(2, job(1, 2, key="llama"), deployments=[replace(LASTING, ready=False)]))
    assert started(decision) == []


def test_an_idle_server_is_stopped_for_the_job_whose_turn_it_is_and_nobody_else_gets_its_gpus() -> None:
    queue = [job(1, 3), job(2, 1), job(3, 1)]
    decision = decide(node(4, *queue, deployments=[KEPT]))
    assert decision.evict == (Evict("kept"),)
    assert started(decision) == ["job-2"]
    assert decision.why["job-1"] == "an idle server is being stopped to give it its GPUs"


def test_while_a_server_stops_no_other_is_stopped_for_the_same_job() -> None:
    stopping = replace(KEPT, ready=False)
    other = Deployment("other", "qwen", (2, 3), ready=True, idle_until=300.0)
    decision = decide(node(4, job(1, 2), deployments=[stopping, other]))
    assert (decision.starts, decision.evict) == ((), ())


def test_no_server_is_stopped_in_vain() -> None:
    busy = [Running("a", (2, 3), "x")]
    assert decide(node(4, job(1, 4), deployments=[KEPT], running=busy)).evict == ()


def test_the_server_that_nobody_waits_for_is_stopped_and_no_more_than_needed() -> None:
    servers = [
        Deployment("small", "a", (0,), ready=True, idle_until=200.0),
        Deployment("soon", "b", (1, 2), ready=True, idle_until=300.0),
        Deployment("wanted", "c", (3, 4), ready=True, idle_until=150.0),
    ]
    decision = decide(node(5, job(1, 2), job(2, 2, key="c"), deployments=servers))
    assert decision.evict == (Evict("soon"),)
    assert decision.starts == (Start("job-2", (), "wanted"),)


def test_a_server_that_somebody_deployed_is_never_stopped() -> None:
    assert decide(node(2, job(1, 1), deployments=[LASTING])).evict == ()


def test_a_server_is_used_before_it_is_stopped_by_a_job_that_was_submitted_soon_after() -> None:
    decision = decide(node(2, job(1, 2), job(2, 2, key="llama"), deployments=[KEPT]))
    assert decision.starts == (Start("job-2", (), "kept"),)
    assert decision.evict == ()


def test_a_server_is_not_used_past_a_job_of_higher_priority_that_needs_its_gpus() -> None:
    decision = decide(node(2, job(1, 2, priority=1), job(2, 2, key="llama"), deployments=[KEPT]))
    assert started(decision) == []
    assert decision.evict == (Evict("kept"),)


def test_however_many_jobs_come_for_a_server_only_a_few_overtake() -> None:
    """They arrive faster than they end, so the server would never be idle."""
    same = [Submission(job(order, 2, key="llama"), order * 2.0, 5.0) for order in range(60) if order != 3]
    other = Submission(job(3, 2), 6.0, 5.0)
    starts = Cluster((0, 1), [*same, other], keep_alive=30.0).run()
    overtakers = [name for name, at in starts.items() if at < starts["job-3"] and int(name[4:]) > 3]
    assert len(overtakers) == FOLLOWERS


def test_a_job_that_fits_only_without_a_deployment_blocks_nobody_and_starts_once_that_is_deleted() -> None:
    queue = [job(1, 4), job(2, explicit=[0]), job(3, 2)]
    decision = decide(node(4, *queue, deployments=[LASTING], max_running=1))
    assert started(decision) == ["job-3"]
    assert decision.why == {
        "job-1": "it needs 4 GPUs and deployments leave 2; it starts when a deployment is deleted",
        "job-2": "it needs GPU 0; GPU 0 held by lasting; it starts when a deployment is deleted",
    }
    assert started(decide(node(4, *queue))) == ["job-1"]


def test_each_of_two_jobs_gets_a_server_of_its_own_stopped() -> None:
    other = Deployment("other", "qwen", (2, 3), ready=True, idle_until=300.0)
    decision = decide(node(4, job(1, 2), job(2, 2), deployments=[replace(KEPT, ready=False), other]))
    assert decision.evict == (Evict("other"),)


def test_the_first_to_end_is_stopped_where_one_too_many_would_be() -> None:
    ends = {"a": ((0,), 200.0), "b": ((1,), 210.0), "c": ((2, 3), 220.0)}
    servers = [Deployment(name, name, gpus, ready=True, idle_until=until) for name, (gpus, until) in ends.items()]
    assert {evict.deployment for evict in decide(node(4, job(1, 3), deployments=servers)).evict} == {"a", "c"}


def test_the_only_place_is_not_given_to_one_that_overtakes() -> None:
    decision = decide(node(2, job(1, 2), job(2, 2, key="llama"), deployments=[KEPT], max_running=1))
    assert (decision.starts, decision.evict) == ((), (Evict("kept"),))


def test_past_a_head_that_waits_for_others_too_only_its_few_followers_use_a_server() -> None:
    queue = [job(1, 4), job(2 + FOLLOWERS, 2, key="llama")]
    busy = [Running("a", (2, 3), "x")]
    assert started(decide(node(4, *queue, deployments=[KEPT], running=busy))) == []
    queue = [job(1, 4), job(1 + FOLLOWERS, 2, key="llama")]
    assert started(decide(node(4, *queue, deployments=[KEPT], running=busy))) == [f"job-{1 + FOLLOWERS}"]


def test_a_job_on_the_server_that_it_started_holds_its_gpus_once() -> None:
    mine = replace(KEPT, in_use_by=("a",))
    busy = [Running("a", (0, 1), "llama", expected_end=160.0)]
    assert started(decide(node(4, job(1, 4), job(2, 2), deployments=[mine], running=busy))) == []


def test_no_server_is_stopped_for_gpus_that_a_running_job_holds() -> None:
    assert decide(node(2, job(1, 2), deployments=[KEPT], running=[Running("a", (0,), "x")])).evict == ()


def test_nobody_waits_for_the_end_of_a_deployment() -> None:
    busy = [Running("a", (2, 3, 4, 5), "x")]
    assert started(decide(node(8, job(1, 4), job(2, 2), deployments=[LASTING], running=busy))) == ["job-2"]
