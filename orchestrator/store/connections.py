"""Where a store is, and connections to it: SQLite's as safe as they can be, PostgreSQL's checked before each use."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.errors import ServiceRunning, StoreError
from orchestrator.job_folder import own

_FORMS = "sqlite:////path/to/store.db or postgresql://user:password@host/database"
_BUSY = 15.0  # seconds that a write waits for one of another process


def parsed(url: str) -> URL:
    """The URL with the driver that we use. Raises: StoreError for what is no store."""
    try:
        made = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"not the URL of a store: {url!r}", hint=_FORMS) from error
    match made.drivername:
        case "sqlite" if made.database and made.database != ":memory:":
            return made
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return made.set(drivername="postgresql+psycopg")
    raise StoreError(f"a store cannot be {made.render_as_string(hide_password=True)!r}", hint=_FORMS)


def prepare(path: Path, exclusive: bool) -> int | None:
    """Make the file readable for its owner alone, and own it; SQLite gives its companions the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # one that is there must not be opened: closing it would drop SQLite's own locks
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if not exclusive:
        return None
    try:
        return own(path.with_name(f"{path.name}.lock"))
    except BlockingIOError as error:
        raise running(str(path)) from error


def running(name: str) -> ServiceRunning:
    """The error of a second owner."""
    hint = "stop it first, or give this one a store of its own"
    return ServiceRunning(f"another process serves the store {name}", hint=hint)


def sqlite(url: URL, *, writer: bool) -> Engine:
    """Connections whose transactions are the store's own: a writer's takes its turn, a reader's waits for none."""
    engine = create_engine(url, connect_args={"timeout": _BUSY}, **_pool(writer))
    event.listen(engine, "connect", _tune)
    event.listen(engine, "begin", _begin("BEGIN IMMEDIATE" if writer else "BEGIN"))
    return engine


def postgresql(url: URL, *, writer: bool) -> Engine:
    """Connections; a reader's sees one moment. Raises: StoreError without the driver."""
    level = {} if writer else {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10}, **level, **_pool(writer))
    except ModuleNotFoundError as error:
        hint = "install the extra `postgres` beside the orchestrator: pip install 'psycopg[binary]'"
        raise StoreError("a store in PostgreSQL needs the driver psycopg", hint=hint) from error


def _pool(writer: bool) -> dict[str, int]:
    return {"pool_size": 1, "max_overflow": 0} if writer else {"pool_size": 8, "max_overflow": 24}


def _tune(driver: Any, _record: Any) -> None:
    driver.isolation_level = None  # the driver begins no transaction of its own: `_begin` does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={int(_BUSY * 1000)}"):
        driver.execute(f"PRAGMA {pragma}").close()


def _begin(statement: str) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return begin
