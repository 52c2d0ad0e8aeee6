"""The schema is made, upgraded and refused; the models and the migrations say the same."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from orchestrator.errors import StoreError
from orchestrator.store import Store, schema
from orchestrator.store.database import Database
from orchestrator.store.tables import metadata
from tests.orchestrator.store.support import add, begin, check, finish


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """The database of `empty_url`, not through the store."""
    engine = create_engine(empty_url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


def test_the_migrations_make_what_the_models_say(empty_url: str, engine: Engine) -> None:
    Store.open(empty_url).close()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        made = inspect(connection)
        for table in metadata.sorted_tables:  # what the comparison does not look at
            assert made.get_pk_constraint(table.name)["constrained_columns"] == list(table.primary_key.columns.keys())
            for key in made.get_foreign_keys(table.name):
                assert key["options"] == {"ondelete": "CASCADE"}


def test_a_store_of_the_first_version_is_upgraded_with_everything_in_it(empty_url: str, engine: Engine) -> None:
    first = schema.revisions()[0]
    database = Database(empty_url, exclusive=False)
    with database.migrate() as connection:
        schema.upgrade(connection, first)
        connection.execute(text(_FIRST_JOB))
        connection.execute(text("INSERT INTO specs VALUES ('old', '{\"serve\": {}}')"))
        connection.execute(text("INSERT INTO records VALUES ('old', '{\"last\": 1}')"))
        connection.execute(
            text(
                "INSERT INTO events VALUES ('old', 1, '2026-01-01T00:00:00Z', 0, 'state', 'queued', '', '', NULL, '{}')"
            )
        )
    database.close()
    store = Store.open(empty_url)
    add(store, "new")
    assert [job.id for job in store.queued()] == ["old", "new"]
    assert check(store) == 2
    store.close()
    with engine.connect() as connection:
        assert schema.revision_of(connection) == schema.revisions()[-1]


def test_a_table_that_is_made_anew_keeps_all_that_hangs_on_it(empty_url: str, engine: Engine, tmp_path: Path) -> None:
    store = Store.open(empty_url)
    for job_id in ("waits", "runs", "done"):
        add(store, job_id, labels={"a": "b"})
    begin(store, "runs", (0, 1))
    finish(store, "done")
    store.close()
    before = counted(engine)
    shutil.copytree(schema.SCRIPTS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "v9000_next.py").write_text(_NEXT)
    database = Database(empty_url, exclusive=False)
    schema.bring_up(database, tmp_path / "migrations")
    database.close()
    assert counted(engine) == before
    assert before["events"] == 5
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM jobs WHERE colour = 'red'")) == 3
        if engine.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    with pytest.raises(StoreError, match="v9000 of a newer version"):
        Store.open(empty_url)


def counted(engine: Engine) -> dict[str, int | None]:
    """Rows per table."""
    with engine.connect() as connection:
        names = metadata.tables.keys()
        return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) for name in names}


def test_a_store_of_a_newer_version_is_refused_and_not_touched(empty_url: str, engine: Engine) -> None:
    store = Store.open(empty_url)
    add(store, "a")
    store.close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(StoreError, match="v9999 of a newer version") as refused:
        Store.open(empty_url)
    assert schema.revisions()[-1] in refused.value.hint
    with engine.connect() as connection:
        assert schema.revision_of(connection) == "v9999"
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 1


def test_a_migration_that_fails_leaves_nothing(empty_url: str, engine: Engine) -> None:
    database = Database(empty_url, exclusive=False)

    def half_way() -> None:
        with database.migrate() as connection:
            schema.upgrade(connection)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half_way()
    database.close()
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    Store.open(empty_url).close()


def test_many_that_open_a_new_store_at_once_make_it_once(empty_url: str) -> None:
    opened: list[Store] = []
    threads = [threading.Thread(target=lambda: opened.append(Store.open(empty_url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(opened) == 4
    for number, store in enumerate(opened):
        add(store, str(number))
    assert check(opened[0]) == 4
    for store in opened:
        store.close()


_FIRST_JOB = """
INSERT INTO jobs (id, name, state, engine, priority, gpus_needed, serve_key, labels, keep_alive, attempt, attempt_open,
                  attempts_max, not_before, created_at, cancel_requested, folder, version, last_seq)
VALUES ('old', 'old', 'queued', 'vllm', 0, 1, '', '{}', 0, 0, FALSE, 3, 0, 1.0, FALSE, 'jobs/old', 1, 1)
"""

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "v9000", "HEAD"


def upgrade():
    with op.batch_alter_table("jobs", recreate="always" if op.get_bind().dialect.name == "sqlite" else "auto") as jobs:
        jobs.add_column(sa.Column("colour", sa.Text(), server_default="red"))
""".replace("HEAD", schema.revisions()[-1])
