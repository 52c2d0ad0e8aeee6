"""Webhook calls that are to be made: written down first, so that a restart forgets none."""

from __future__ import annotations

import time
from dataclasses import fields

from sqlalchemy import insert, select, update

from orchestrator.errors import NotFound
from orchestrator.store.database import Database
from orchestrator.store.jobs import HEAD
from orchestrator.store.rows import DeliveryRow, JobHead
from orchestrator.store.tables import deliveries, jobs

_ROW = tuple(deliveries.c[field.name] for field in fields(DeliveryRow))


class Deliveries:
    """One call per job and URL; it goes with its job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job_id: str, url: str, body: str) -> bool:
        """To be made at once; False when this job and URL are known already. Raises: NotFound."""
        with self._database.write() as connection:
            if connection.scalar(select(jobs.c.number).where(jobs.c.id == job_id)) is None:
                raise NotFound(f"no job {job_id}")
            if connection.scalar(select(deliveries.c.id).where(deliveries.c.job_id == job_id, deliveries.c.url == url)):
                return False
            row = {"job_id": job_id, "url": url, "body": body, "attempts": 0, "next_at": time.time()}
            connection.execute(insert(deliveries).values(**row))
        return True

    def due(self, now: float, limit: int = 100) -> list[DeliveryRow]:
        """Those to be made by now, the longest waiting first."""
        query = select(*_ROW).where(deliveries.c.next_at <= now).order_by(deliveries.c.next_at).limit(limit)
        with self._database.read() as connection:
            return [DeliveryRow(*row) for row in connection.execute(query)]

    def of_job(self, job_id: str) -> list[DeliveryRow]:
        """All of a job's."""
        query = select(*_ROW).where(deliveries.c.job_id == job_id).order_by(deliveries.c.id)
        with self._database.read() as connection:
            return [DeliveryRow(*row) for row in connection.execute(query)]

    def delivered(self, delivery_id: int, at: float) -> None:
        """It arrived."""
        done = {"next_at": None, "delivered_at": at, "attempts": deliveries.c.attempts + 1, "last_error": None}
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**done))

    def failed(self, delivery_id: int, error: str, next_at: float | None) -> None:
        """It did not; again at `next_at`, or None: given up."""
        tried = {"next_at": next_at, "attempts": deliveries.c.attempts + 1, "last_error": error}
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**tried))

    def unsent(self, url: str, since: float, limit: int = 1000) -> list[JobHead]:
        """Jobs that ended at `since` or later and have no call to `url` yet, the oldest first: for a restart."""
        known = select(deliveries.c.id).where(deliveries.c.job_id == jobs.c.id, deliveries.c.url == url).exists()
        query = select(*HEAD).where(jobs.c.finished_at >= since, ~known).order_by(jobs.c.finished_at).limit(limit)
        with self._database.read() as connection:
            return [JobHead(*row) for row in connection.execute(query)]
