"""Whose turn it is, and what may start past the head of the queue."""

from __future__ import annotations

from orchestrator.scheduling import Decision, Running, Snapshot, Start, decide
from tests.orchestrator.scheduling.support import Cluster, Submission, job, node, started


def running(name: str, *gpus: int, end: float | None = None) -> Running:
    return Running(name, gpus, f"key-{name}", end)


def test_higher_priority_goes_first_then_the_first_submitted() -> None:
    decision = decide(node(2, job(1), job(2), job(3, priority=1)))
    assert started(decision) == ["job-3", "job-1"]


def test_a_small_job_does_not_pass_a_large_one_that_the_next_end_lets_start() -> None:
    busy = [running("a", 0, 1), running("b", 2, 3), running("c", 4, 5)]
    assert started(decide(node(8, job(1, 4), job(2, 1), running=busy))) == []


def test_a_small_job_takes_what_is_over_whichever_running_job_ends_first() -> None:
    busy = [running("a", 0, 1, 2, 3, 4, 5)]
    assert started(decide(node(8, job(1, 4), job(2, 2), job(3, 1), running=busy))) == ["job-2"]


def test_a_small_job_that_is_over_in_time_takes_what_the_head_waits_beside() -> None:
    busy = [running("a", 0, 1, 2, 3, 4, 5, end=160)]
    queue = [job(1, 8), job(2, 1, seconds=61), job(3, 2, seconds=60)]
    assert started(decide(node(8, *queue, running=busy))) == ["job-3"]


def test_what_the_head_will_not_need_when_it_starts_is_lent_for_any_time() -> None:
    busy = [running("a", 0, 1, 2, 3, end=160), running("b", 4, 5, end=900)]
    assert started(decide(node(8, job(1, 4), job(2, 2), job(3, 1), running=busy))) == ["job-2"]


def test_nothing_is_built_on_a_job_that_should_have_ended_already() -> None:
    busy = [running("a", 0, 1, end=90), running("b", 2, 3, 4, 5, end=90)]
    assert started(decide(node(8, job(1, 4), job(2, 2, seconds=10), running=busy))) == []


def test_gpus_asked_for_by_index_block_only_those() -> None:
    decision = decide(node(4, job(1, explicit=[0, 1]), job(2, 2), job(3, 1), running=[running("a", 0)]))
    assert decision.starts == (Start("job-2", (2, 3)),)


def test_a_gpu_that_a_later_job_asks_for_by_index_is_given_last() -> None:
    decision = decide(node(2, job(1), job(2, explicit=[0])))
    assert decision.starts == (Start("job-1", (1,)), Start("job-2", (0,)))


def test_a_job_without_gpus_waits_for_no_gpu() -> None:
    assert started(decide(node(2, job(1, 2), job(2, 0), running=[running("a", 0)]))) == ["job-2"]


def test_the_last_place_of_max_running_is_kept_for_the_head() -> None:
    queue = [job(1, 2), job(2, 0), job(3, 0)]
    decision = decide(node(2, *queue, running=[running("a", 0)], max_running=3))
    assert started(decision) == ["job-2"]
    assert decision.why["job-3"] == "the last of 3 places is kept for job-1, which is next"


def test_no_more_jobs_run_than_max_running() -> None:
    decision = decide(node(8, job(1), job(2), job(3), running=[running("a", 0)], max_running=2))
    assert started(decision) == ["job-1"]
    assert decision.why["job-2"] == "as many jobs run as may run side by side (2)"


def test_a_job_that_can_never_fit_blocks_nobody() -> None:
    decision = decide(node(4, job(1, 5), job(2, explicit=[4, 9]), job(3, 4)))
    assert started(decision) == ["job-3"]
    assert decision.why == {
        "job-1": "it can never start here: it needs 5 GPUs and there are 4",
        "job-2": "it can never start here: it needs GPUs 4, 9, which the inventory does not have",
    }


def test_a_job_after_a_lost_attempt_waits_its_time_and_blocks_nobody() -> None:
    decision = decide(node(4, job(1, 4, not_before=130), job(2, 4)))
    assert started(decision) == ["job-2"]
    assert decision.why["job-1"] == "its next attempt starts in 30 s at the earliest"


def test_a_job_after_a_lost_attempt_waits_its_time_behind_the_head_too() -> None:
    busy = [running("a", 0, 1, 2, 3, 4, 5)]
    assert started(decide(node(8, job(1, 4), job(2, 2, not_before=130), running=busy))) == []


def test_gpus_that_another_command_holds_are_not_given() -> None:
    decision = decide(node(4, job(1, 2), job(2, 1), taken=[0, 1, 2]))
    assert started(decision) == []
    assert decision.why["job-1"] == "next in line: it needs 2 GPUs and 1 is free"


def test_people_are_told_who_holds_what_and_until_when() -> None:
    decision = decide(
        node(4, job(1, explicit=[0, 3]), job(2, explicit=[1]), running=[running("a", 0, end=400), running("b", 1)])
    )
    assert decision.why == {
        "job-1": "next in line: it needs GPUs 0, 3; GPU 0 held by a; expected to start in 5 min",
        "job-2": "it needs GPU 1; GPU 1 held by b",
    }


def test_a_large_job_in_a_stream_of_small_ones_starts_when_what_ran_before_it_has_ended() -> None:
    """The stream never ends before the large job has started; a scheduler that starts whatever fits shows why."""
    small = [Submission(job(order), float(order), 3.0) for order in range(60)]
    large = Submission(job(100, 4, priority=0), 5.0, 10.0)
    stream = [*small[:5], large, *(Submission(job(200 + one.job.order), one.at, 3.0) for one in small[5:])]
    assert Cluster((0, 1, 2, 3), stream).run()["job-100"] == 7.0
    assert Cluster((0, 1, 2, 3), stream, decider=whatever_fits).run()["job-100"] > 60


def whatever_fits(snapshot: Snapshot) -> Decision:
    busy = {gpu for attempt in snapshot.running for gpu in attempt.gpus}
    starts = []
    for waiting in sorted(snapshot.waiting, key=lambda one: one.order):
        free = [gpu for gpu in snapshot.gpus if gpu not in busy][: waiting.gpus]
        if len(free) == waiting.gpus:
            starts.append(Start(waiting.id, tuple(free)))
            busy |= set(free)
    left = {waiting.id for waiting in snapshot.waiting} - {start.job for start in starts}
    return Decision(tuple(starts), (), dict.fromkeys(left, "it does not fit"))
