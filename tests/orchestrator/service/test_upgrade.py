"""A new version takes over in the middle of everything: schema migrated, runners of the old one adopted."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

import orchestrator
from orchestrator.store import schema
from tests.orchestrator.service.support import Running, held, spec
from tests.orchestrator.support import PLUGIN, wait_for

pytestmark = pytest.mark.slow

MIGRATION = f'''
import sqlalchemy as sa
from alembic import op

revision, down_revision = "v9000", "{schema.revisions()[-1]}"


def upgrade():
    with op.batch_alter_table("jobs", recreate="always") as jobs:
        jobs.add_column(sa.Column("colour", sa.Text(), server_default="red"))
'''


def test_running_jobs_finish_through_an_upgrade_with_a_migration(service: Running, gate: Path, tmp_path: Path) -> None:
    jobs = [service.submit(held(gate)) for _ in range(2)]
    waiting = service.submit(spec(gpus=4, limit=2))
    for job in jobs:
        service.wait_state(job, "evaluating")
    runners = [service.runner(job) for job in jobs]
    service.kill()
    service.settings["PYTHONPATH"] = f"{_newer_version(tmp_path)}{os.pathsep}{PLUGIN}"
    service.start()
    assert [service.runner(job) for job in jobs] == runners
    gate.touch()
    for job in (*jobs, waiting):
        done = service.wait_end(job)
        assert (done["state"], done["attempt"]) == ("succeeded", 1), done
        events = service.events(job)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event.model_dump() for event in service.folder(job).events()] == events
    with sqlite3.connect(service.home / "service.db") as database:
        assert database.execute("SELECT colour, count(*) FROM jobs GROUP BY colour").fetchall() == [("red", 3)]
    service.stop()
    del service.settings["PYTHONPATH"]
    older = service.launch()
    wait_for(lambda: older.poll() is not None, "end of the older version")
    assert "v9000 of a newer version" in (service.home / "service.log").read_text()


def _newer_version(folder: Path) -> Path:
    """The package of today with one migration more."""
    place = folder / "newer"
    package = Path(orchestrator.__file__).parent
    shutil.copytree(package, place / "orchestrator", ignore=shutil.ignore_patterns("__pycache__"))
    migrations = place / "orchestrator" / "store" / "migrations" / "versions"
    (migrations / "v9000_next.py").write_text(MIGRATION)
    return place
