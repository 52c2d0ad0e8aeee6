"""The tables. What changes here changes with a migration: a test holds the two against each other.

A job's documents stand apart from it: a list or the queue never reads past them, and a new record does not rewrite
the job's row and indexes. Tables with a key of text are `WITHOUT ROWID` in SQLite: one tree to write, not two.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint, text

from orchestrator.record import State
from orchestrator.store.columns import Choice, Document, Line, Number, Numbers
from orchestrator.store.rows import AttemptState, DeploymentState, Role

metadata = MetaData(
    naming_convention={  # a later migration can name what it changes
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
LIVING = text("state IN ('starting', 'ready', 'stopping')")


def _job_key(*, primary: bool = True) -> Column[str]:
    """What belongs to a job goes with it."""
    reference = ForeignKey("jobs.id", ondelete="CASCADE")
    return Column("job_id", Line, reference, primary_key=primary, nullable=False)


jobs = Table(
    "jobs",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Line, nullable=False, unique=True),
    Column("name", Line, nullable=False),
    Column("state", Choice(State), nullable=False),
    Column("engine", Line, nullable=False),
    Column("priority", Number, nullable=False),
    Column("gpus_needed", Integer, nullable=False),
    Column("gpus_explicit", Numbers),
    Column("serve_key", Line, nullable=False),
    Column("labels", Document, nullable=False),
    Column("keep_alive", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempt_open", Boolean, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("not_before", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("submitted_by", Line),
    Column("resumed_from", Line),
    Column("deployment_id", Line),
    Column("folder", Line, nullable=False),
    Column("version", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Index(None, "state", "number"),
    Index(None, "engine", "number"),
    Index(None, "finished_at", "number"),
    Index(None, "attempt_open"),
    Index(None, "submitted_by", "state"),
    sqlite_autoincrement=True,  # a number is never used twice, even after the newest job was deleted
)

specs = Table("specs", metadata, _job_key(), Column("spec", Document, nullable=False), sqlite_with_rowid=False)
records = Table("records", metadata, _job_key(), Column("record", Document, nullable=False), sqlite_with_rowid=False)

job_labels = Table(
    "job_labels",
    metadata,
    Column("number", Number, ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("key", Line, primary_key=True),
    Column("value", Line, nullable=False),
    Index(None, "key", "value", "number"),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    _job_key(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key", Line, nullable=False, unique=True),
    Column("executor", Line, nullable=False),
    Column("token_hash", Line, nullable=False),
    Column("state", Choice(AttemptState), nullable=False),
    Column("gpus", Numbers, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("heartbeat_at", Double),
    Column("ended_at", Double),
    Column("detail", Line, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    _job_key(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", Line, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("type", Line, nullable=False),
    Column("state", Choice(State), nullable=False),
    Column("phase", Line, nullable=False),
    Column("message", Line, nullable=False),
    Column("code", Line),
    Column("data", Document, nullable=False),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("kind", Line, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("holder", Line, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("taken_at", Double, nullable=False),
    sqlite_with_rowid=False,
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Line, primary_key=True),
    Column("name", Line, nullable=False),
    Column("state", Choice(DeploymentState), nullable=False),
    Column("serve", Document, nullable=False),
    Column("probe", Document, nullable=False),
    Column("compress", Document),
    Column("serve_key", Line, nullable=False),
    Column("keep_alive", Double),
    Column("folder", Line, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    Column("created_by", Line),
    Column("idle_since", Double),
    Column("gpus", Numbers, nullable=False),
    Column("url", Line),
    Column("gateway_url", Line),
    Column("record", Document, nullable=False),
    Column("version", Integer, nullable=False),
    Index("uq_deployments_living_name", "name", unique=True, sqlite_where=LIVING, postgresql_where=LIVING),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Line, nullable=False, unique=True),
    Column("name", Line, nullable=False),
    Column("spec", Document, nullable=False),
    Column("jobs", Document, nullable=False),
    Column("state", Line, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Line),
    Column("result", Document),
    Column("version", Integer, nullable=False),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("token", Line, primary_key=True),
    Column("key", Line, primary_key=True),
    Column("body_hash", Line, nullable=False),
    Column("job_id", Line, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Double, nullable=False),
    sqlite_with_rowid=False,
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", Line, primary_key=True),
    Column("hash", Line, nullable=False, unique=True),
    Column("role", Choice(Role), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Column("rate_per_minute", Integer),
    Column("max_queued", Integer),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("time", Double, nullable=False, index=True),
    Column("token", Line),
    Column("action", Line, nullable=False),
    Column("target", Line, nullable=False),
    Column("outcome", Line, nullable=False),
    Column("detail", Document, nullable=False),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    _job_key(primary=False),
    Column("url", Line, nullable=False),
    Column("body", Line, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, index=True),
    Column("delivered_at", Double),
    Column("last_error", Line),
    UniqueConstraint("job_id", "url"),
)
