"""Opening, owning and losing a database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from orchestrator.errors import ServiceRunning, StoreError
from orchestrator.store import Store
from orchestrator.store.database import Database
from orchestrator.store.rows import JobFilter
from tests.orchestrator.store.postgres import Postgres
from tests.orchestrator.store.support import add, check
from tests.orchestrator.support import wait_for

OWNER = """
import sys
from orchestrator.store import Store
store = Store.open(sys.argv[1], exclusive=True)
print("mine", flush=True)
sys.stdin.read()
"""


def test_one_process_owns_a_store_and_others_may_still_read_and_write(url: str) -> None:
    owner = Store.open(url, exclusive=True)
    with pytest.raises(ServiceRunning, match="another process serves"):
        Store.open(url, exclusive=True)
    other = Store.open(url)
    add(other, "a")
    assert [job.id for job in owner.queued()] == ["a"]
    other.close()
    owner.close()
    Store.open(url, exclusive=True).close()


def test_a_killed_owner_owns_nothing(url: str) -> None:
    command = [sys.executable, "-c", OWNER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(ServiceRunning):
            Store.open(url, exclusive=True)
        process.kill()
        process.wait(10)
        Store.open(url, exclusive=True).close()


def test_an_owner_whose_connection_broke_writes_again_only_if_nobody_owns_it_now(postgres: Postgres) -> None:
    url = postgres.create("broken", "made")
    owner = Store.open(url, exclusive=True)
    add(owner, "a")
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'broken'")
    add(owner, "b")
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'broken'")
    other = Store.open(url, exclusive=True)
    with pytest.raises(ServiceRunning):
        add(owner, "c")
    assert [job.id for job in other.queued()] == ["a", "b"]
    other.close()
    add(owner, "c")
    owner.close()
    postgres.drop("broken")


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_what_is_no_store_is_refused_with_the_forms_that_are(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        Store.open(url)
    assert "sqlite:////path" in refused.value.hint


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(StoreError) as refused:
        Store.open("mysql://me:pssst@host/db")
    assert "pssst" not in f"{refused.value} {refused.value.hint}"


def test_a_server_that_is_not_there_is_an_error_of_ours() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="does not answer") as refused:
        Store.open("postgresql://me:pssst@127.0.0.1:9/db")
    assert "pssst" not in str(refused.value)


def test_a_file_that_is_something_else_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is a diary, " * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(f"sqlite:///{tmp_path / 'store.db'}")


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'new' / 'store.db'}")
    add(store)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    store.close()
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_sqlite_is_told_to_be_safe_on_every_connection(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", exclusive=False)
    for connect in (database.read, database.write):
        with connect() as connection:
            told = {
                name: connection.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15000}
    database.close()


def test_a_write_waits_for_another_process_that_writes(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); sys.stdin.readline(); c.execute('COMMIT')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(tmp_path / "store.db", timeout=0).execute("BEGIN IMMEDIATE")
        assert store.jobs(JobFilter()) == []  # readers do not wait
        process.stdin.write("\n")
        process.stdin.flush()
        add(store, "a")
    assert check(store) == 1
    store.close()


def test_an_error_within_a_transaction_leaves_nothing_of_it(url: str) -> None:
    database = Database(url, exclusive=False)

    def half() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO tokens (name, hash, role, created_at) VALUES ('a', 'h', 'read', 1)"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    database.close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tokens")) == 0
    engine.dispose()


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_what_is_there(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    add(store, "a")
    with store._database.write() as connection:  # the file may not grow, which SQLite reports as it does a full disk
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StoreError, match="full"):
        add(store, "large", record={"last": 1, "fill": "x" * 1_000_000})
    assert check(store) == 1
    with store._database.write() as connection:
        connection.execute(text("PRAGMA max_page_count=1000000"))
    add(store, "large", record={"last": 1, "fill": "x" * 1_000_000})
    assert check(store) == 2
    store.close()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url, exclusive=False)
    yield database
    database.close()


def queue_up(database: Database, works: list[Callable[[Connection], object]]) -> list[Future[object]]:
    """Have threads wait for their turn with these, all at once; what came of each."""
    with ThreadPoolExecutor(len(works)) as pool:
        with database.write():
            waiting = [pool.submit(database.grouped, work) for work in works]
            wait_for(lambda: len(database._wishes) == len(works), "queue of changes")
        return waiting


def insert(connection: Connection, name: str) -> object:
    connection.execute(
        text(f"INSERT INTO tokens (name, hash, role, created_at) VALUES ('{name}', '{name}', 'read', 1)")
    )
    return connection.get_transaction()


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.scalars(text("SELECT name FROM tokens")))


def test_changes_that_wait_for_each_other_share_a_commit(database: Database) -> None:
    works = [lambda connection, name=name: insert(connection, name) for name in "abcdefgh"]
    assert len({done.result() for done in queue_up(database, works)}) == 1
    assert names(database) == set("abcdefgh")


def test_a_change_that_fails_takes_nothing_with_it_and_leaves_nothing(database: Database) -> None:
    def fails(connection: Connection) -> None:
        insert(connection, "half")
        raise RuntimeError("this one alone")

    def asks_wrongly(connection: Connection) -> None:
        insert(connection, "other half")
        insert(connection, "other half")

    works = [
        lambda connection: insert(connection, "a"),
        fails,
        asks_wrongly,
        lambda connection: insert(connection, "b"),
    ]
    errors = [done.exception() for done in queue_up(database, works)]
    assert [type(error).__name__ for error in errors] == ["NoneType", "RuntimeError", "IntegrityError", "NoneType"]
    assert names(database) == {"a", "b"}


def test_when_the_database_fails_every_change_of_the_group_hears_it(postgres: Postgres) -> None:
    database = Database(postgres.create("gone", "made"), exclusive=False)
    kill = text("SELECT pg_terminate_backend(pg_backend_pid())")
    works = [lambda connection: insert(connection, "a"), lambda connection: connection.execute(kill)]
    errors = [done.exception() for done in queue_up(database, works)]
    assert [type(error) for error in errors] == [StoreError, StoreError]
    assert names(database) == set()
    database.close()
    postgres.drop("gone")
