"""A store in SQLite and in PostgreSQL: every test that asks for `store` or `url` runs on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.orchestrator.store.postgres import Postgres, binaries


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL with the database `made`, which has this version's tables."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL binaries on this machine")
    server = Postgres(folder)
    Store.open(server.create("made")).close()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with this version's tables."""
    path = tmp_path_factory.mktemp("made") / "store.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store without tables."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    yield postgres.create(tmp_path.name)
    postgres.drop(tmp_path.name)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store with tables and nothing in them."""
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_made"), tmp_path / "store.db")
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    yield postgres.create(tmp_path.name, template="made")
    postgres.drop(tmp_path.name)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store.open(url)
    yield store
    store.close()
