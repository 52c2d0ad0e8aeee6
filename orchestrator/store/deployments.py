"""Served models."""

from __future__ import annotations

from dataclasses import fields, replace

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import Conflict, NotFound
from orchestrator.store import leases
from orchestrator.store.database import Database
from orchestrator.store.jobs import check_version
from orchestrator.store.rows import DeploymentRow, DeploymentState, values_of
from orchestrator.store.tables import deployments

_ROW = tuple(deployments.c[field.name] for field in fields(DeploymentRow))
_LIVING = tuple(state for state in DeploymentState if state.living)


class Deployments:
    """Deployments by id; the living ones by name too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: DeploymentRow) -> None:
        """A new one, and the leases of its `gpus`. Raises: Conflict when a living one has the name; LeaseTaken."""
        taken = f"a deployment named {row.name!r} lives"
        with self._database.write() as connection:
            if connection.scalar(select(deployments.c.id).where(*_named(row.name))):
                raise Conflict(taken, hint="take it down first, or take another name")
            try:
                connection.execute(insert(deployments).values(**values_of(row)))
            except IntegrityError as error:  # another process wrote in between
                raise Conflict(taken) from error
            leases.take(connection, row.id, "gpu", row.gpus, 0)

    def get(self, deployment_id: str) -> DeploymentRow | None:
        """One deployment, living or not."""
        with self._database.read() as connection:
            row = connection.execute(select(*_ROW).where(deployments.c.id == deployment_id)).one_or_none()
        return None if row is None else DeploymentRow(*row)

    def find(self, name: str) -> DeploymentRow | None:
        """The living one of this name."""
        with self._database.read() as connection:
            row = connection.execute(select(*_ROW).where(*_named(name))).one_or_none()
        return None if row is None else DeploymentRow(*row)

    def all(self, *, living: bool = False, limit: int = 1000) -> list[DeploymentRow]:
        """All of them or the living ones, newest first."""
        query = select(*_ROW).order_by(deployments.c.created_at.desc(), deployments.c.id).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query.where(deployments.c.state.in_(_LIVING)) if living else query)
            return [DeploymentRow(*row) for row in rows]

    def save(self, row: DeploymentRow) -> DeploymentRow:
        """Write `row` over the one that it was made from; the row as it is now. One that is over holds no lease.

        Raises: NotFound; PreconditionFailed when somebody else saved it since; Conflict when its name is taken now.
        """
        saved = replace(row, version=row.version + 1)
        with self._database.write() as connection:
            this = deployments.c.id == row.id
            version = connection.scalar(select(deployments.c.version).where(this).with_for_update())
            if version is None:
                raise NotFound(f"no deployment {row.id}")
            check_version(f"deployment {row.id}", version, row.version)
            try:
                connection.execute(update(deployments).where(this).values(**values_of(saved)))
            except IntegrityError as error:
                raise Conflict(f"a deployment named {row.name!r} lives") from error
            if not row.state.living:
                leases.release(connection, row.id)
        return saved

    def delete(self, deployment_id: str) -> DeploymentRow:
        """Forget one that is over. Raises: NotFound; Conflict when it lives."""
        with self._database.write() as connection:
            this = deployments.c.id == deployment_id
            row = connection.execute(select(*_ROW).where(this).with_for_update()).one_or_none()
            if row is None:
                raise NotFound(f"no deployment {deployment_id}")
            if row.state.living:
                raise Conflict(f"deployment {deployment_id} is {row.state}", hint="take it down first")
            connection.execute(delete(deployments).where(this))
        return DeploymentRow(*row)


def _named(name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return deployments.c.name == name, deployments.c.state.in_(_LIVING)
