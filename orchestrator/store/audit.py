"""Who did what."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import insert, select

from orchestrator.store.database import Database
from orchestrator.store.rows import AuditEntry, AuditRow
from orchestrator.store.tables import audit

_ROW = tuple(audit.c[field.name] for field in fields(AuditRow))


class Audit:
    """Lines that are added and never changed; retention alone removes them, by age."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, token: str | None, action: str, target: str, outcome: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """One line. `token`: its name, None where none was needed."""
        line = {"token": token, "action": action, "target": target, "outcome": outcome, "detail": dict(detail or {})}
        with self._database.write() as connection:
            connection.execute(insert(audit).values(time=time.time(), **line))

    def extend(self, entries: Sequence[AuditEntry]) -> None:
        """Many lines at once, each with its own time."""
        if entries:
            with self._database.write() as connection:
                connection.execute(insert(audit), [asdict(entry) for entry in entries])

    def page(self, limit: int = 100, before: int | None = None) -> list[AuditRow]:
        """Newest first; the next page is `before=page[-1].id`."""
        query = select(*_ROW).order_by(audit.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query if before is None else query.where(audit.c.id < before))
            return [AuditRow(*row) for row in rows]
