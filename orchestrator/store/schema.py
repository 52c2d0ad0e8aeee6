"""The schema's version: made, upgraded, or refused. The steps are in `migrations/versions`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from orchestrator.errors import StoreError
from orchestrator.store.database import Database

SCRIPTS = Path(__file__).parent / "migrations"


def bring_up(database: Database, scripts: Path = SCRIPTS) -> None:
    """Make the tables or upgrade them to this version, in one transaction. Raises: StoreError when they are newer."""
    with database.read() as connection:
        if _is_current(connection, database.name, scripts):
            return
    with database.migrate() as connection:
        if not _is_current(connection, database.name, scripts):  # another process may have done it meanwhile
            upgrade(connection, scripts=scripts)


def upgrade(connection: Connection, revision: str = "head", scripts: Path = SCRIPTS) -> None:
    """Go up to a revision."""
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revisions(scripts: Path = SCRIPTS) -> list[str]:
    """Every revision that this version knows, the first one first."""
    return [script.revision for script in ScriptDirectory(str(scripts)).walk_revisions()][::-1]


def revision_of(connection: Connection) -> str | None:
    """The database's revision, None when it has no tables."""
    return MigrationContext.configure(connection).get_current_revision()


def _is_current(connection: Connection, name: str, scripts: Path) -> bool:
    known, current = revisions(scripts), revision_of(connection)
    if current is not None and current not in known:
        hint = f"run the version of the orchestrator that wrote it, or a newer one; this one knows {known[-1]}"
        raise StoreError(f"the store {name} has the schema {current} of a newer version", hint=hint)
    return current == known[-1]
