"""One database: readers side by side, one writer at a time, and at most one process that owns it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, TimeoutError

from orchestrator.errors import StoreError
from orchestrator.store import connections

T = TypeVar("T")
_OWNER = 0x73746F7265  # PostgreSQL advisory lock of the process that serves the store; one per database
_MIGRATION = _OWNER + 1
_ASKED = (IntegrityError, DataError, ProgrammingError)  # what was asked is at fault, not who answers
_GROUP = 64  # changes that share a transaction at most: the first must not wait long for the last


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """What one thread wants done, and what came of it."""

    work: Callable[[Connection], Any]
    outcome: Future[Any] = field(default_factory=Future)


class Database:
    """Connections of one URL. On PostgreSQL the owner's lock hangs on the one connection that writes."""

    def __init__(self, url: str, *, exclusive: bool) -> None:
        self._url = connections.parsed(url)
        self._turn = threading.Lock()
        self._wishes: deque[_Wish] = deque()
        self._exclusive = exclusive
        self._lock: int | None = None
        if self.sqlite:
            self._lock = connections.prepare(Path(self._url.database or ""), exclusive)
        make = connections.sqlite if self.sqlite else connections.postgresql
        self._writer = make(self._url, writer=True)
        self._reader = make(self._url, writer=False)

    @property
    def sqlite(self) -> bool:
        """Whether it is a file."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment of the database, whatever is written meanwhile."""
        with self._reachable(), self._reader.connect() as connection:
            yield connection

    def grouped(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction that it may share with what other threads want at the same moment.

        A commit waits for the disk; one wait does for all of them. Each is all or nothing by itself, and on disk when
        this returns.
        """
        wish = _Wish(work)
        self._wishes.append(wish)
        with self._turn:  # whoever comes first does the work of all who wait behind
            while not wish.outcome.done():
                self._grant([self._wishes.popleft() for _ in range(min(len(self._wishes), _GROUP))])
        result: T = wish.outcome.result()
        return result

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: on disk after the block, nothing of it after an error."""
        with self._turn, self._reachable(), self._writer.connect() as connection:
            self._own(connection)
            with connection.begin():
                yield connection

    def claim(self) -> None:
        """Own the database, if that is asked for. Raises: ServiceRunning when another process does."""
        with self._turn, self._reachable(), self._writer.connect() as connection:
            self._own(connection)

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """A transaction that may change the tables; no other process migrates meanwhile."""
        with self._turn, self._reachable(), self._writer.connect() as connection:
            self._own(connection)
            with self._unguarded(connection), connection.begin():
                if not self.sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))
                yield connection

    def close(self) -> None:
        """Close every connection; whoever owned the database does no longer."""
        self._writer.dispose()
        self._reader.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _grant(self, wishes: list[_Wish]) -> None:
        try:
            with self._reachable(), self._writer.connect() as connection:
                self._own(connection)
                with connection.begin():
                    alone = len(wishes) == 1
                    results = [(wish.work(connection), None) if alone else _tried(connection, wish) for wish in wishes]
        except BaseException as error:
            for wish in wishes:
                wish.outcome.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for wish, (result, failure) in zip(wishes, results, strict=True):
            if failure is None:
                wish.outcome.set_result(result)
            else:
                wish.outcome.set_exception(failure)

    def _own(self, connection: Connection) -> None:
        # A connection that broke took the lock with it: before the next write it has to be ours again.
        if self.sqlite or not self._exclusive or "owner" in connection.info:
            return
        with connection.begin():
            if not connection.scalar(select(func.pg_try_advisory_lock(_OWNER))):
                raise connections.running(self.name)
        connection.info["owner"] = True

    @contextmanager
    def _unguarded(self, connection: Connection) -> Iterator[None]:
        # SQLite rebuilds a table to change it; with foreign keys on, dropping the old one would empty its children.
        if not self.sqlite:
            yield
            return
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            yield
        finally:
            driver.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, TimeoutError) as error:
            if isinstance(error, _ASKED):
                raise
            why = getattr(error, "orig", None) or error
            hint = "is the disk full, or the database server stopped? The service goes on once it answers again"
            raise StoreError(f"the store {self.name} does not answer: {why}", hint=hint) from error


def _tried(connection: Connection, wish: _Wish) -> tuple[Any, Exception | None]:
    """Its result, or its failure with nothing of it left in the transaction that others share."""
    try:
        with connection.begin_nested():
            return wish.work(connection), None
    except Exception as error:
        if isinstance(error, DBAPIError) and not isinstance(error, _ASKED):
            raise  # the database's trouble, not this wish's: it is everybody's
        return None, error
