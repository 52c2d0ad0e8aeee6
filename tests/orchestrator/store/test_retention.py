"""What is old goes, and only that."""

from __future__ import annotations

import pytest

from orchestrator.store import Store
from orchestrator.store.rows import Idempotency, JobFilter, RetentionPolicy
from tests.orchestrator.store.support import add, begin, check, event, finish, new_job

START = 1_000_000.0


@pytest.fixture
def aged(store: Store) -> Store:
    """Jobs `0` to `9`, each finished 100 s after the one before, one that runs and one that waits."""
    for number in range(10):
        add(store, str(number))
        finish(store, str(number), at=START + 100 * number)
    for job_id in ("runs", "waits"):
        add(store, job_id)
    begin(store, "runs")
    return store


def left(store: Store) -> set[str]:
    return {job.id for job in store.jobs(JobFilter(limit=100))} - {"runs", "waits"}


def test_finished_jobs_go_by_age(aged: Store) -> None:
    policy = RetentionPolicy(max_age=450.0)
    assert [job.id for job in aged.expired(policy, START + 1000)] == ["0", "1", "2", "3", "4", "5"]
    assert [job.id for job in aged.prune(policy, START + 1000)] == ["0", "1", "2", "3", "4", "5"]
    assert left(aged) == set("6789")
    check(aged)


def test_the_newest_finished_jobs_stay_by_count(aged: Store) -> None:
    assert {job.id for job in aged.prune(RetentionPolicy(max_jobs=3), START + 1000)} == set("0123456")
    assert left(aged) == set("789")
    assert aged.prune(RetentionPolicy(max_jobs=3), START + 1000) == []


def test_age_and_count_are_both_limits(aged: Store) -> None:
    assert {job.id for job in aged.prune(RetentionPolicy(max_age=150.0, max_jobs=9), START + 1000)} == set("012345678")
    assert {job.id for job in aged.prune(RetentionPolicy(max_age=1e9, max_jobs=0), START + 1000)} == set("9")


def test_a_job_that_is_not_over_never_goes(aged: Store) -> None:
    aged.prune(RetentionPolicy(max_age=0.0, max_jobs=0), 9e9)
    assert {job.id for job in aged.jobs(JobFilter())} == {"runs", "waits"}
    check(aged)


def test_without_a_limit_nothing_goes(aged: Store) -> None:
    assert aged.prune(RetentionPolicy(), 9e9) == []


def test_pruning_goes_on_where_it_stopped(aged: Store) -> None:
    policy = RetentionPolicy(max_jobs=0)
    gone = [[job.id for job in aged.prune(policy, 9e9, limit=4)] for _ in range(4)]
    assert gone == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"], []]


def test_old_audit_lines_and_idempotency_keys_go_too(store: Store) -> None:
    store.add_job(new_job("a", created_at=START), Idempotency("ci", "k", "h"), event(1))
    store.audit.add(None, "jobs.create", "a", "allowed")
    store.prune(RetentionPolicy(audit_age=60.0, idempotency_age=60.0), START + 50)
    assert len(store.audit.page()) == 1
    assert not store.add_job(new_job("b"), Idempotency("ci", "k", "h"), event(1))[1]
    store.prune(RetentionPolicy(audit_age=60.0, idempotency_age=60.0), 9e9)
    assert store.audit.page() == []
    assert store.add_job(new_job("b"), Idempotency("ci", "k", "h"), event(1))[1]
