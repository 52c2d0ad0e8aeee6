"""`orchestrator journal`, on the journal of a real job."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestrator.support import Cli


@pytest.fixture
def journal(cli: Cli, write_job: Callable[..., Path]) -> Path:
    """Of a job with 20 questions."""
    code, job = cli.job(write_job())
    assert code == 0
    return cli.home / "jobs" / job["id"] / "journal"


def test_a_jobs_journal_is_shown_verified_and_exported(cli: Cli, journal: Path, tmp_path: Path) -> None:
    job = journal.parent.name
    records = json.loads(cli.here("journal", "show", job, "--limit", "1000", "--json").stdout)
    assert len(records) >= 20
    key = records[3]["key"]
    table = cli.here("journal", "show", str(journal), "--key", key[:20]).stdout
    assert key in table
    assert json.loads(records[3]["body"])["choices"][0]["message"]["content"].split()[0] in table

    facts = json.loads(cli.here("journal", "verify", job, "--json").stdout)
    assert (facts["answers"], facts["damaged"], facts["cut_bytes"]) == (len(records), 0, 0)
    assert sum(facts["servings"].values()) == len(records)

    lines, rows = tmp_path / "out.jsonl", tmp_path / "out.csv"
    assert cli.here("journal", "export", job, str(lines)).returncode == 0
    assert [json.loads(line) for line in lines.read_text().splitlines()] == records
    assert cli.here("journal", "export", job, str(rows), "--format", "csv").returncode == 0
    with rows.open(newline="") as file:
        assert [row["body"] for row in csv.DictReader(file)] == [record["body"] for record in records]
    plain = subprocess.run(["gzip", "-dc", journal], capture_output=True, check=True).stdout
    assert [json.loads(line) for line in plain.splitlines()] == records


def test_a_cut_journal_is_whole_and_a_damaged_one_is_not(cli: Cli, journal: Path) -> None:
    sound = journal.read_bytes()
    journal.write_bytes(sound[:-3])
    cut = cli.here("journal", "verify", str(journal), "--json")
    assert (cut.returncode, json.loads(cut.stdout)["damaged"]) == (0, 0)
    assert json.loads(cut.stdout)["cut_bytes"] > 0
    journal.write_bytes(sound[:90] + b"damaged" + sound[97:])
    damaged = cli.here("journal", "verify", str(journal), "--json")
    assert (damaged.returncode, json.loads(damaged.stdout)["damaged"]) == (1, 1)
    left = cli.here("journal", "export", str(journal), "-").stdout.splitlines()
    assert len(left) == json.loads(damaged.stdout)["answers"] > 0


def test_what_is_no_journal_is_refused(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no journal")
    for what in (str(text), "no-such-job"):
        done = cli.here("journal", "show", what)
        assert (done.returncode, done.stderr.split(":")[0]) == (1, "journal_unusable")
