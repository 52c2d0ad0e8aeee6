"""What runners report: in order, once, and only by the attempt that may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import Conflict, TerminalState
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import AttemptState
from tests.orchestrator.store.support import ENDS, PHASES, add, begin, check, event, finish, run


@pytest.fixture
def running(store: Store) -> Store:
    """Job `a` with an open attempt on GPUs 0 and 1."""
    add(store, "a")
    begin(store, "a", (0, 1))
    return store


def test_a_report_is_kept_whole(running: Store) -> None:
    sent = [event(2, State.ALLOCATING, 1, data={"ports": [1, 2]}), event(3, State.STARTING, 1, code="note")]
    answer = running.report("a", 1, sent, {"last": 3, "progress": {"done": 1}})
    assert (answer.next_seq, answer.added, answer.state, answer.cancel_requested) == (4, 2, State.STARTING, False)
    assert running.events("a") == [event(1), *sent]
    job = running.job("a")
    assert job is not None
    assert (job.state, job.last_seq, job.record["progress"]) == (State.STARTING, 3, {"done": 1})
    assert (job.started_at, job.finished_at, job.version) == (1_000_002.0, None, answer.version)


def test_events_are_read_from_where_a_reader_stopped(running: Store) -> None:
    running.report("a", 1, run(2, PHASES[:4]), None)
    assert [one.seq for one in running.events("a", after=2, limit=2)] == [3, 4]
    assert running.events("a", after=99) == []


def test_a_report_sent_again_changes_nothing(running: Store) -> None:
    running.report("a", 1, run(2, PHASES[:3]), {"last": 4})
    before = running.job("a")
    answer = running.report("a", 1, run(2, PHASES[:3]), None)
    assert (answer.next_seq, answer.added) == (5, 0)
    assert running.job("a") == before


def test_a_report_that_overlaps_adds_what_is_new(running: Store) -> None:
    running.report("a", 1, run(2, PHASES[:3]), None)
    assert running.report("a", 1, run(2, PHASES[:5]), None).added == 2
    assert [one.seq for one in running.events("a")] == [1, 2, 3, 4, 5, 6]


def test_after_a_gap_nothing_is_taken_and_the_answer_says_what_is_missing(running: Store) -> None:
    running.report("a", 1, run(2, PHASES[:1]), {"last": 2})
    answer = running.report("a", 1, run(5, PHASES[3:5]), {"last": 6})
    assert (answer.next_seq, answer.added, answer.state) == (3, 0, State.ALLOCATING)
    holed = [event(3, State.STARTING, 1), event(5, State.PROBING, 1)]
    assert running.report("a", 1, holed, {"last": 5}).next_seq == 3
    assert running.records(["a"]) == {"a": {"last": 2}}


def test_a_report_is_a_heartbeat_whatever_it_says(running: Store) -> None:
    running.report("a", 1, run(9, PHASES[:1]), None, at=77.0)
    attempt = running.attempt("a", 1)
    assert attempt is not None
    assert attempt.heartbeat_at == 77.0


@pytest.mark.parametrize("end", ENDS)
def test_a_terminal_event_ends_job_and_attempt_and_frees_the_gpus(running: Store, end: State) -> None:
    running.report("a", 1, run(2, [State.STARTING, end]), {"last": 3, "state": end.value}, at=50.0)
    job, attempt = running.job("a"), running.attempt("a", 1)
    assert job is not None
    assert attempt is not None
    assert (job.state, job.finished_at, job.attempt_open) == (end, 1_000_003.0, False)
    assert (attempt.state, attempt.ended_at) == (AttemptState.ENDED, 50.0)
    assert running.leases() == {}
    check(running)


@pytest.mark.parametrize("end", ENDS)
def test_a_terminal_state_never_changes(running: Store, end: State) -> None:
    running.report("a", 1, run(2, [end]), {"last": 2, "state": end.value})
    before = running.job("a")
    for later in State:
        with pytest.raises(TerminalState):
            running.report("a", 1, [event(3, later, 1)], {"last": 3, "state": later.value})
        with pytest.raises(TerminalState):
            running.append_event("a", event(3, later))
    assert running.report("a", 1, run(2, [end]), {"state": "queued", "last": 9}).added == 0
    assert running.job("a") == before
    assert len(running.events("a")) == 2


def test_an_event_after_the_last_one_in_the_same_report_is_refused_with_all_of_it(running: Store) -> None:
    with pytest.raises(TerminalState):
        running.report("a", 1, run(2, [State.SUCCEEDED, State.STOPPING]), {"last": 3})
    assert len(running.events("a")) == 1


def test_the_last_report_may_come_again_with_a_fuller_record(running: Store) -> None:
    running.report("a", 1, run(2, [State.FAILED]), {"last": 2, "state": "failed"})
    running.report("a", 1, run(2, [State.FAILED]), {"last": 2, "state": "failed", "report": "report.md"})
    assert running.records(["a"])["a"]["report"] == "report.md"


def test_a_runner_hears_that_its_job_is_to_be_cancelled(running: Store) -> None:
    running.request_cancel("a")
    assert running.report("a", 1, [], None).cancel_requested


def test_the_service_adds_events_only_while_no_attempt_is_open(store: Store) -> None:
    add(store, "a")
    assert store.append_event("a", event(2, type="note", message="waits for a GPU"), {"last": 2}).last_seq == 2
    assert store.append_event("a", event(2)).last_seq == 2
    with pytest.raises(Conflict, match="4 is not the next"):
        store.append_event("a", event(4))
    with pytest.raises(ValueError, match="nobody to run it"):
        store.append_event("a", event(3, State.STARTING))
    begin(store, "a")
    with pytest.raises(Conflict, match="open attempt"):
        store.append_event("a", event(3))


def test_a_time_that_cannot_be_read_does_not_lose_the_event(running: Store) -> None:
    running.report("a", 1, [event(2, State.FAILED, 1).model_copy(update={"time": "soon"})], None)
    job = running.job("a")
    assert job is not None
    assert job.finished_at is not None
    assert job.finished_at > 1_000_000_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for every example."""
    path: Path = tmp_path_factory.mktemp("reports") / "store.db"
    store = Store.open(f"sqlite:///{path}")
    yield store
    store.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 12), st.integers(0, 5)), max_size=12))
def test_in_whatever_pieces_events_come_they_are_kept_in_order_without_gap_or_repeat(
    shared: Store, pieces: list[tuple[int, int]]
) -> None:
    job = add(shared)
    begin(shared, job.id)
    last = 1
    for first, length in pieces:
        if first <= last + 1:
            last = max(last, first + length - 1)
        sent = [event(seq, State.EVALUATING, 1) for seq in range(first, first + length)]
        answer = shared.report(job.id, 1, sent, {"last": sent[-1].seq} if sent else None)
        assert answer.next_seq == last + 1
        assert [one.seq for one in shared.events(job.id)] == list(range(1, last + 1))


def test_a_finished_job_of_each_state_passes_every_check(store: Store) -> None:
    for end in ENDS:
        finish(store, add(store).id, end)
    assert check(store) == len(ENDS)
