"""Jobs come, are found, are listed, are cancelled and go."""

from __future__ import annotations

import pytest

from orchestrator.errors import (
    Conflict,
    IdempotencyConflict,
    NotFound,
    PreconditionFailed,
    QueueFull,
    TerminalState,
)
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import Idempotency
from tests.orchestrator.store.support import add, begin, check, event, finish, new_job

ODD = "a\0b \ud800 ✓ \U0001f680 '; DROP TABLE jobs; --"


def test_a_job_comes_back_as_it_was_submitted(store: Store) -> None:
    new = new_job(
        "one",
        priority=-3,
        gpus_needed=4,
        gpus_explicit=(4, 5, 6, 7),
        serve_key="key",
        labels={"team": "a", "run": "7"},
        keep_alive=60.5,
        not_before=2e9,
        submitted_by="ci",
        resumed_from="zero",
    )
    job, created = store.add_job(new, None, event(1))
    assert created
    assert store.job("one") == job
    assert (job.state, job.attempt, job.attempt_open, job.version, job.last_seq) == (State.QUEUED, 0, False, 1, 1)
    for name in ("name", "priority", "gpus_needed", "gpus_explicit", "serve_key", "labels", "keep_alive", "spec"):
        assert getattr(job, name) == getattr(new, name)
    assert (job.not_before, job.submitted_by, job.resumed_from, job.started_at) == (2e9, "ci", "zero", None)
    assert store.events("one") == [event(1)]


def test_text_that_no_database_takes_is_no_error(store: Store) -> None:
    spec = {"text": ODD, "large": 2**70, "list": [1.5, None, True]}
    job = add(store, "odd", name=ODD, spec=spec, labels={ODD: ODD}, record={"last": 1})
    found = store.job("odd")
    assert found is not None
    assert found.name == ODD.replace("\0", "\ufffd").replace("\ud800", "?")
    assert found.spec == spec
    assert found.labels == {ODD: ODD}
    assert job.number == found.number
    assert store.job(ODD) is None


def test_numbers_are_the_order_of_submission_and_are_never_used_again(store: Store) -> None:
    first, second = add(store), add(store)
    assert second.number > first.number
    finish(store, second.id)
    store.delete_job(second.id)
    assert add(store).number > second.number


def test_the_same_key_and_body_give_the_same_job(store: Store) -> None:
    key = Idempotency("ci", "k1", "hash")
    job, created = store.add_job(new_job("first"), key, event(1))
    again, created_again = store.add_job(new_job("second"), key, event(1))
    assert (created, created_again) == (True, False)
    assert again == job
    assert check(store) == 1


def test_the_same_key_with_another_body_is_refused_and_writes_nothing(store: Store) -> None:
    store.add_job(new_job("first"), Idempotency("ci", "k1", "hash"), event(1))
    with pytest.raises(IdempotencyConflict, match="another body"):
        store.add_job(new_job("second"), Idempotency("ci", "k1", "other"), event(1))
    assert store.job("second") is None


def test_a_key_is_its_tokens_own(store: Store) -> None:
    store.add_job(new_job("first"), Idempotency("ci", "k1", "hash"), event(1))
    _, created = store.add_job(new_job("second"), Idempotency("people", "k1", "other"), event(1))
    assert created


def test_a_key_is_free_again_when_its_job_was_deleted(store: Store) -> None:
    key = Idempotency("ci", "k1", "hash")
    store.add_job(new_job("first"), key, event(1))
    finish(store, "first")
    store.delete_job("first")
    assert store.add_job(new_job("second"), key, event(1))[1]


def test_a_full_queue_takes_nothing_more_from_that_submitter(store: Store) -> None:
    for job_id in ("a", "b"):
        store.add_job(new_job(job_id, submitted_by="ci"), None, event(1), max_queued=2)
    with pytest.raises(QueueFull, match="ci has 2 jobs"):
        store.add_job(new_job("c", submitted_by="ci"), None, event(1), max_queued=2)
    store.add_job(new_job("d", submitted_by="people"), None, event(1), max_queued=2)
    finish(store, "a")
    store.add_job(new_job("e", submitted_by="ci"), None, event(1), max_queued=2)


def test_the_queue_is_in_the_order_to_run(store: Store) -> None:
    for job_id, priority in (("low", 0), ("high", 5), ("low2", 0), ("high2", 5), ("last", -1)):
        add(store, job_id, priority=priority)
    finish(store, "low2")
    assert [job.id for job in store.queued()] == ["high", "high2", "low", "last"]


def test_a_begun_job_is_active_and_no_longer_in_the_queue(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    assert store.queued() == []
    [(job, attempt)] = store.active()
    assert (job.id, job.state, attempt.number, attempt.key) == ("a", State.QUEUED, 1, "a.1")


def test_jobs_are_counted_by_state(store: Store) -> None:
    for job_id in "abc":
        add(store, job_id)
    finish(store, "b", State.FAILED)
    assert store.counts() == {State.QUEUED: 2, State.FAILED: 1}


def test_a_job_to_be_cancelled_never_begins(store: Store) -> None:
    add(store, "a")
    assert store.request_cancel("a").cancel_requested
    with pytest.raises(Conflict, match="to be cancelled"):
        begin(store, "a")
    store.append_event("a", event(2, State.CANCELLED))
    with pytest.raises(TerminalState, match="cancelled"):
        store.request_cancel("a")


def test_asking_twice_to_cancel_changes_nothing(store: Store) -> None:
    add(store, "a")
    assert store.request_cancel("a") == store.request_cancel("a")


def test_of_two_clients_that_saw_the_same_version_one_wins(store: Store) -> None:
    seen = add(store, "a").version
    store.request_cancel("a", seen)
    with pytest.raises(PreconditionFailed, match="changed"):
        store.request_cancel("a", seen)


def test_deleting_takes_everything_of_the_job_and_nothing_else(store: Store) -> None:
    for job_id in ("a", "b"):
        add(store, job_id, labels={"team": job_id})
        finish(store, job_id)
    store.delete_job("a")
    assert (store.job("a"), store.events("a"), store.attempts("a"), store.records(["a"])) == (None, [], [], {})
    assert check(store) == 1


def test_a_job_that_is_not_over_cannot_be_deleted(store: Store) -> None:
    job = add(store, "a")
    with pytest.raises(Conflict, match="queued"):
        store.delete_job("a")
    finish(store, "a")
    with pytest.raises(PreconditionFailed):
        store.delete_job("a", job.version)


def test_what_is_not_there_is_not_found(store: Store) -> None:
    assert store.job("none") is None
    for call in (store.request_cancel, store.delete_job):
        with pytest.raises(NotFound, match="none"):
            call("none")
