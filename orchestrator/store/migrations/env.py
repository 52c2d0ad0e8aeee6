"""What Alembic runs: the steps, on the connection and within the transaction that it is given."""

from __future__ import annotations

from alembic import context

from orchestrator.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making another
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
