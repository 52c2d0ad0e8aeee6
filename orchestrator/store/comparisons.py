"""Several jobs that differ in what serves them."""

from __future__ import annotations

from dataclasses import fields, replace

from sqlalchemy import delete, insert, select, update

from orchestrator.errors import NotFound
from orchestrator.store.database import Database
from orchestrator.store.jobs import check_version
from orchestrator.store.rows import ComparisonRow, values_of
from orchestrator.store.tables import comparisons

_ROW = tuple(comparisons.c[field.name] for field in fields(ComparisonRow))


class Comparisons:
    """Comparisons by id. The jobs that one names may be gone: what was found out stands in its `result`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: ComparisonRow) -> ComparisonRow:
        """A new one; it gets its `number` here."""
        values = {key: value for key, value in values_of(row).items() if key != "number"}
        with self._database.write() as connection:
            made = connection.execute(insert(comparisons).values(**values).returning(*_ROW)).one()
        return ComparisonRow(*made)

    def get(self, comparison_id: str) -> ComparisonRow | None:
        """One comparison."""
        with self._database.read() as connection:
            row = connection.execute(select(*_ROW).where(comparisons.c.id == comparison_id)).one_or_none()
        return None if row is None else ComparisonRow(*row)

    def page(self, limit: int = 50, before: int | None = None) -> list[ComparisonRow]:
        """Newest first; the next page is `before=page[-1].number`."""
        query = select(*_ROW).order_by(comparisons.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query if before is None else query.where(comparisons.c.number < before))
            return [ComparisonRow(*row) for row in rows]

    def save(self, row: ComparisonRow) -> ComparisonRow:
        """Write `row` over the one that it was made from; the row as it is now.

        Raises: NotFound; PreconditionFailed when somebody else saved it since.
        """
        saved = replace(row, version=row.version + 1)
        with self._database.write() as connection:
            this = comparisons.c.id == row.id
            version = connection.scalar(select(comparisons.c.version).where(this).with_for_update())
            if version is None:
                raise NotFound(f"no comparison {row.id}")
            check_version(f"comparison {row.id}", version, row.version)
            connection.execute(update(comparisons).where(this).values(**values_of(saved)))
        return saved

    def delete(self, comparison_id: str) -> None:
        """Forget it; its jobs stay. Raises: NotFound."""
        with self._database.write() as connection:
            query = delete(comparisons).where(comparisons.c.id == comparison_id).returning(comparisons.c.id)
            if connection.scalar(query) is None:
                raise NotFound(f"no comparison {comparison_id}")
