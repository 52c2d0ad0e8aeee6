"""Attempts and the leases that they hold."""

from __future__ import annotations

import pytest

from orchestrator.errors import Conflict, LeaseTaken, NotFound, StaleAttempt
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import AttemptState
from tests.orchestrator.store.support import add, begin, check, event, finish


def test_an_attempt_is_written_down_with_its_leases_before_anything_starts(store: Store) -> None:
    add(store, "a")
    row = store.begin_attempt("a", "a.1", "local", "hash", (2, 3), "warm")
    assert (row.number, row.state, row.gpus, row.token_hash) == (1, AttemptState.INTENDED, (2, 3), "hash")
    assert store.attempt("a", 1) == row
    assert store.leases() == {("gpu", 2): "a", ("gpu", 3): "a"}
    job = store.job("a")
    assert job is not None
    assert (job.attempt, job.attempt_open, job.state, job.deployment_id) == (1, True, State.QUEUED, "warm")


def test_a_gpu_is_never_leased_twice_and_a_refused_attempt_leaves_nothing(store: Store) -> None:
    add(store, "a")
    add(store, "b")
    begin(store, "a", (0, 1))
    with pytest.raises(LeaseTaken, match="gpu 1 is leased by a"):
        begin(store, "b", (1, 2))
    assert store.attempts("b") == []
    assert set(store.leases()) == {("gpu", 0), ("gpu", 1)}
    assert [job.id for job in store.queued()] == ["b"]
    check(store)


def test_a_job_has_one_attempt_at_a_time(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    with pytest.raises(Conflict, match="attempt 1"):
        store.begin_attempt("a", "a.2", "local", "hash", ())


def test_a_job_that_is_over_begins_nothing(store: Store) -> None:
    add(store, "a")
    finish(store, "a")
    with pytest.raises(Conflict, match="succeeded"):
        begin(store, "a")
    with pytest.raises(NotFound):
        store.begin_attempt("none", "k", "local", "hash", ())


def test_an_attempt_never_goes_backwards(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    store.mark_attempt("a", 1, AttemptState.RUNNING, "pid 7")
    store.mark_attempt("a", 1, AttemptState.SUBMITTED, "late")
    attempt = store.attempt("a", 1)
    assert attempt is not None
    assert (attempt.state, attempt.detail) == (AttemptState.RUNNING, "pid 7")
    with pytest.raises(ValueError, match="close_attempt"):
        store.mark_attempt("a", 1, AttemptState.LOST)


def test_a_requeued_job_is_at_its_old_place_with_its_gpus_free(store: Store) -> None:
    for job_id in ("a", "b"):
        add(store, job_id, gpus_needed=1)
    begin(store, "a", (0,))
    store.report("a", 1, [event(2, State.STARTING, 1)], {"last": 2})
    job = store.requeue("a", 1, 2e9, event(3, message="lost its runner"))
    assert (job.state, job.attempt, job.attempt_open, job.not_before, job.last_seq) == (State.QUEUED, 1, False, 2e9, 3)
    assert store.leases() == {}
    assert [waiting.id for waiting in store.queued()] == ["a", "b"]
    lost = store.attempt("a", 1)
    assert lost is not None
    assert (lost.state, lost.detail) == (AttemptState.LOST, "lost its runner")
    assert begin(store, "a", (0,)) == 2


def test_every_write_of_an_attempt_that_is_over_is_refused(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    store.requeue("a", 1, 0, event(2))
    before = store.job("a")
    writes = [
        lambda: store.mark_attempt("a", 1, AttemptState.RUNNING),
        lambda: store.heartbeat("a", 1, 5.0),
        lambda: store.report("a", 1, [event(3, State.STARTING, 1)], {"last": 3}),
        lambda: store.report("a", 1, [], None),
        lambda: store.requeue("a", 1, 0, event(3)),
    ]
    for write in writes:
        with pytest.raises(StaleAttempt):
            write()
    begin(store, "a", (1,))
    for write in writes:
        with pytest.raises(StaleAttempt, match="attempt 2, not 1"):
            write()
    after = store.job("a")
    assert before is not None
    assert after is not None
    assert (after.state, after.last_seq, after.record) == (before.state, before.last_seq, before.record)
    assert store.leases() == {("gpu", 1): "a"}


def test_an_attempt_of_a_job_that_is_gone_is_stale(store: Store) -> None:
    with pytest.raises(StaleAttempt, match="gone"):
        store.report("none", 1, [], None)


def test_an_attempt_that_cannot_be_repeated_ends_the_job(store: Store) -> None:
    add(store, "a")
    begin(store, "a", (0,))
    end = event(2, State.FAILED, 1, code="lost")
    job = store.close_attempt("a", 1, AttemptState.LOST, "third time", end, record={"last": 2})
    assert (job.state, job.finished_at) == (State.FAILED, 1_000_002.0)
    assert store.leases() == {}
    check(store)


def test_no_end_of_an_attempt_leaves_a_job_that_nobody_runs(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    with pytest.raises(ValueError, match="nobody to run it"):
        store.close_attempt("a", 1, AttemptState.LOST, "", event(2, State.PROBING, 1))
    with pytest.raises(ValueError, match="not the end"):
        store.close_attempt("a", 1, AttemptState.RUNNING, "", event(2))
    assert check(store) == 1


def test_heartbeats_of_many_are_one_write_and_those_of_the_dead_are_dropped(store: Store) -> None:
    for job_id in ("a", "b"):
        add(store, job_id)
        begin(store, job_id)
    store.requeue("b", 1, 0, event(2))
    store.heartbeats({("a", 1): 10.0, ("b", 1): 10.0, ("none", 1): 10.0})
    beats = {job_id: store.attempt(job_id, 1) for job_id in ("a", "b")}
    assert {job_id: row and row.heartbeat_at for job_id, row in beats.items()} == {"a": 10.0, "b": None}


def test_a_heartbeat_does_not_change_the_version(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    before = store.job("a")
    store.heartbeat("a", 1, 5.0)
    store.report("a", 1, [], None, at=6.0)
    assert store.job("a") == before
    attempt = store.attempt("a", 1)
    assert attempt is not None
    assert (attempt.heartbeat_at, attempt.state) == (6.0, AttemptState.RUNNING)


def test_leases_are_given_back_one_by_one_by_the_attempt_that_took_them(store: Store) -> None:
    add(store, "a")
    begin(store, "a", (0, 1, 2))
    assert store.release("a", "gpu", [0], attempt=2) == 0
    assert store.release("other") == 0
    assert store.release("a", "gpu", [0, 9], attempt=1) == 1
    assert set(store.leases()) == {("gpu", 1), ("gpu", 2)}
    assert store.release("a") == 2


def test_leasing_is_all_or_nothing_and_may_be_repeated(store: Store) -> None:
    store.lease("d1", "port", [13000, 13001])
    store.lease("d1", "port", [13001, 13002])
    with pytest.raises(LeaseTaken, match="port 13002 is leased by d1"):
        store.lease("d2", "port", [13002, 13003])
    store.lease("d2", "gpu", [13002])
    assert store.leases() == {
        ("port", 13000): "d1",
        ("port", 13001): "d1",
        ("port", 13002): "d1",
        ("gpu", 13002): "d2",
    }
