"""Everything that the service must not forget, in one place.

Each method is one transaction: on disk when it returns, or nothing of it happened. Methods may be called from any
thread; writes take turns. Times are seconds since the epoch. All of them may raise StoreError when the database is
away; what else they raise is said at each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.record import Event, State
from orchestrator.store import attempts, jobs, leases, listing, reports, retention, schema
from orchestrator.store.audit import Audit
from orchestrator.store.comparisons import Comparisons
from orchestrator.store.database import Database
from orchestrator.store.deliveries import Deliveries
from orchestrator.store.deployments import Deployments
from orchestrator.store.rows import (
    AttemptRow,
    AttemptState,
    Idempotency,
    JobFilter,
    JobHead,
    JobRow,
    Json,
    LeaseKind,
    NewJob,
    Reported,
    RetentionPolicy,
)
from orchestrator.store.tokens import Tokens


class Store:
    """The service's memory; `deployments`, `comparisons`, `tokens`, `audit` and `deliveries` are its smaller rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.deployments = Deployments(database)
        self.comparisons = Comparisons(database)
        self.tokens = Tokens(database)
        self.audit = Audit(database)
        self.deliveries = Deliveries(database)

    @classmethod
    def open(cls, url: str, *, exclusive: bool = False) -> Store:
        """Open `sqlite:////path/to/file` or `postgresql://...`, made or upgraded to this version's schema.

        `exclusive`: be the one process that serves this store, until `close` or this process's end.
        Raises: ServiceRunning when another process is that; StoreError when the schema is newer or nothing answers.
        """
        database = Database(url, exclusive=exclusive)
        try:
            database.claim()
            schema.bring_up(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    # Jobs

    def add_job(
        self, new: NewJob, idempotency: Idempotency | None, event: Event, *, max_queued: int | None = None
    ) -> tuple[JobRow, bool]:
        """Queue a job with its first event; the job and whether it was made now.

        With an idempotency key that was used before with the same body: the job of then, nothing written.
        Raises: IdempotencyConflict; QueueFull when `new.submitted_by` has `max_queued` queued jobs already.
        """
        return self._database.grouped(lambda connection: jobs.add(connection, new, idempotency, event, max_queued))

    def job(self, job_id: str) -> JobRow | None:
        """One job with its documents."""
        with self._database.read() as connection:
            return jobs.get(connection, job_id)

    def jobs(self, wanted: JobFilter) -> list[JobHead]:
        """A page of jobs, newest first; the next page is `before=page[-1].number`."""
        with self._database.read() as connection:
            return listing.page(connection, wanted)

    def records(self, job_ids: Iterable[str]) -> dict[str, Json]:
        """The records of these jobs, by id: what a page of `jobs` leaves out."""
        with self._database.read() as connection:
            return listing.records(connection, job_ids)

    def queued(self) -> list[JobHead]:
        """Jobs that wait for an attempt, in the order to run: priority, then order of submission."""
        with self._database.read() as connection:
            return listing.queued(connection)

    def active(self) -> list[tuple[JobHead, AttemptRow]]:
        """Jobs whose attempt is not over, with it."""
        with self._database.read() as connection:
            return listing.active(connection)

    def counts(self) -> dict[State, int]:
        """Jobs per state; states without jobs are left out."""
        with self._database.read() as connection:
            return listing.counts(connection)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events with a larger `seq` than `after`, in order."""
        with self._database.read() as connection:
            return listing.events(connection, job_id, after, limit)

    def request_cancel(self, job_id: str, version: int | None = None) -> JobHead:
        """Note that the job is to be cancelled; from now on no attempt begins. Repeating it changes nothing.

        Raises: NotFound; TerminalState; PreconditionFailed when `version` is given and is not the job's.
        """
        return self._database.grouped(lambda connection: jobs.request_cancel(connection, job_id, version))

    def delete_job(self, job_id: str, version: int | None = None) -> JobHead:
        """Remove a job that is over and everything about it; the caller removes its folder.

        Raises: NotFound; Conflict when it is not over; PreconditionFailed as in `request_cancel`.
        """
        return self._database.grouped(lambda connection: jobs.remove(connection, job_id, version))

    # Attempts: every write carries the attempt's number

    def begin_attempt(
        self,
        job_id: str,
        key: str,
        executor: str,
        token_hash: str,
        gpus: Sequence[int],
        deployment_id: str | None = None,
    ) -> AttemptRow:
        """Write down that the job is about to run, and lease its GPUs, before anything is started.

        Raises: NotFound; Conflict when the job is not queued, has an open attempt or is to be cancelled; LeaseTaken.
        """
        return self._database.grouped(
            lambda connection: attempts.begin(connection, job_id, key, executor, token_hash, gpus, deployment_id)
        )

    def attempt(self, job_id: str, number: int) -> AttemptRow | None:
        """One attempt."""
        with self._database.read() as connection:
            return attempts.get(connection, job_id, number)

    def attempts(self, job_id: str) -> list[AttemptRow]:
        """All attempts of a job, the first one first."""
        with self._database.read() as connection:
            return attempts.of_job(connection, job_id)

    def mark_attempt(self, job_id: str, attempt: int, state: AttemptState, detail: str = "") -> None:
        """Set how far an open attempt is; never backwards (a late `submitted` does not undo `running`).

        Raises: StaleAttempt; ValueError for a state that is an end: `close_attempt` is for that.
        """
        self._database.grouped(lambda connection: attempts.mark(connection, job_id, attempt, state, detail))

    def heartbeat(self, job_id: str, attempt: int, at: float) -> None:
        """The attempt's runner lives. Raises: StaleAttempt."""
        self._database.grouped(lambda connection: attempts.heartbeat(connection, job_id, attempt, at))

    def heartbeats(self, beats: Mapping[tuple[str, int], float]) -> None:
        """Many at once, in one transaction: (job id, attempt) -> time; those of attempts that are over are dropped."""
        self._database.grouped(lambda connection: attempts.heartbeats(connection, beats))

    def report(
        self, job_id: str, attempt: int, events: Sequence[Event], record: Json | None, at: float | None = None
    ) -> Reported:
        """What a runner reports, and its heartbeat: events in order, and the record as it is after them.

        Events already held are passed over, so a report may be sent again. After a gap nothing is taken, the record
        neither: the answer's `next_seq` says what to send first. The job's state is the last event's. A terminal
        event ends the attempt and frees the job's leases.
        Raises: StaleAttempt (also when the job is gone); TerminalState for an event after the terminal one.
        """
        return self._database.grouped(
            lambda connection: reports.report(connection, job_id, attempt, events, record, now_or(at))
        )

    def append_event(self, job_id: str, event: Event, record: Json | None = None) -> JobHead:
        """An event that the service itself makes, while no attempt is open. One already held is passed over.

        Raises: NotFound; TerminalState; Conflict when an attempt is open or `event.seq` is not the next one;
        ValueError when the job would neither wait nor be over.
        """
        return self._database.grouped(lambda connection: reports.append_event(connection, job_id, event, record))

    def close_attempt(
        self,
        job_id: str,
        attempt: int,
        ended: AttemptState,
        detail: str,
        event: Event,
        *,
        not_before: float | None = None,
        record: Json | None = None,
    ) -> JobHead:
        """End an open attempt that did not end itself: leases freed, the job's state from `event`, all in one.

        `event`: its next one, of the service: `queued` to try again (not before `not_before`), or a terminal state.
        Raises: StaleAttempt; Conflict when `event.seq` is not the next one; ValueError for another event or `ended`.
        """
        return self._database.grouped(
            lambda connection: reports.close(connection, job_id, attempt, ended, detail, event, not_before, record)
        )

    def requeue(self, job_id: str, attempt: int, not_before: float, event: Event) -> JobHead:
        """`close_attempt` as lost, with the event that puts the job back into the queue at its old place."""
        return self.close_attempt(job_id, attempt, AttemptState.LOST, event.message, event, not_before=not_before)

    # Leases

    def leases(self) -> dict[tuple[LeaseKind, int], str]:
        """Every lease: (kind, number) -> holder, the id of a job or a deployment."""
        with self._database.read() as connection:
            return leases.held(connection)

    def lease(self, holder: str, kind: LeaseKind, numbers: Iterable[int], attempt: int = 0) -> None:
        """Lease all of `numbers` or none. What the holder has already it keeps. Raises: LeaseTaken."""
        self._database.grouped(lambda connection: leases.take(connection, holder, kind, numbers, attempt))

    def release(
        self,
        holder: str,
        kind: LeaseKind | None = None,
        numbers: Iterable[int] | None = None,
        *,
        attempt: int | None = None,
    ) -> int:
        """Free the holder's leases; how many. Left out: of both kinds, all numbers, taken by any attempt."""
        return self._database.grouped(lambda connection: leases.release(connection, holder, kind, numbers, attempt))

    # Retention

    def expired(self, policy: RetentionPolicy, now: float | None = None, limit: int = 500) -> list[JobHead]:
        """Finished jobs that `policy` lets go, the oldest first, at most `limit`."""
        with self._database.read() as connection:
            return retention.expired(connection, policy, now_or(now), limit)

    def prune(self, policy: RetentionPolicy, now: float | None = None, limit: int = 500) -> list[JobHead]:
        """Remove those, and old audit lines and idempotency keys; the caller removes the folders."""
        return self._database.grouped(lambda connection: retention.prune(connection, policy, now_or(now), limit))


def now_or(at: float | None) -> float:
    """`at`, else this moment."""
    return time.time() if at is None else at
