"""Pages of jobs."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import JobFilter
from tests.orchestrator.store.support import add, begin, finish


def ids(store: Store, **wanted: object) -> list[str]:
    return [job.id for job in store.jobs(JobFilter(**wanted))]  # type: ignore[arg-type]


@pytest.fixture
def many(store: Store) -> Store:
    """Jobs 0 to 19, submitted in that order."""
    for number in range(20):
        labels = {"parity": "odd" if number % 2 else "even", "third": str(number % 3)}
        add(store, str(number), engine="vllm" if number % 4 else "sglang", labels=labels)
    return store


def test_newest_first(many: Store) -> None:
    assert ids(many) == [str(number) for number in range(19, -1, -1)]


def test_pages_hold_every_job_once_while_others_come_and_go(many: Store) -> None:
    seen: list[str] = []
    before = None
    while page := many.jobs(JobFilter(limit=6, before=before)):
        seen += [job.id for job in page]
        before = page[-1].number
        add(many)
        if "5" not in seen and many.job("5"):
            finish(many, "5")
            many.delete_job("5")
    assert seen == [str(number) for number in range(19, -1, -1) if number != 5]


def test_every_part_of_a_filter_must_hold(many: Store) -> None:
    finish(many, "3")
    assert ids(many, state=State.SUCCEEDED) == ["3"]
    assert ids(many, engine="sglang") == ["16", "12", "8", "4", "0"]
    assert ids(many, labels={"parity": "odd"}) == ["19", "17", "15", "13", "11", "9", "7", "5", "3", "1"]
    assert ids(many, labels={"parity": "odd", "third": "0"}) == ["15", "9", "3"]
    assert ids(many, labels={"parity": "odd", "third": "0"}, state=State.QUEUED, engine="vllm") == ["15", "9"]
    assert ids(many, labels={"parity": "third"}) == []


def test_filtered_pages_go_on_where_the_last_one_ended(many: Store) -> None:
    first = many.jobs(JobFilter(labels={"parity": "even"}, limit=4))
    rest = many.jobs(JobFilter(labels={"parity": "even"}, limit=40, before=first[-1].number))
    assert [job.id for job in [*first, *rest]] == [str(number) for number in range(18, -1, -2)]


def test_a_cursor_beyond_every_number_is_no_error(many: Store) -> None:
    assert len(ids(many, before=10**30)) == 20
    assert ids(many, before=-(10**30)) == []


def test_lists_never_read_a_document(store: Store, url: str) -> None:
    for job_id in ("a", "b"):
        add(store, job_id)
    begin(store, "a")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE specs SET spec = 'no JSON'"))
        connection.execute(text("UPDATE records SET record = 'no JSON'"))
    engine.dispose()
    assert len(store.jobs(JobFilter())) == 2
    assert len(store.queued()) == 1
    assert len(store.active()) == 1
    with pytest.raises(ValueError, match="Expecting value"):
        store.job("a")


def test_records_of_a_page_come_in_one_read(many: Store) -> None:
    assert many.records(["1", "2", "none"]) == {"1": {"last": 1}, "2": {"last": 1}}
    assert many.records([]) == {}
