"""`orchestrator report`: every form of a finished job, on standard output or in a file."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest

from orchestrator.reporting.tables import COLUMNS
from tests.orchestrator.support import Cli


def test_results_come_as_one_document_with_all_that_they_depend_on(reporting_cli: Cli, folder: Path) -> None:
    done = reporting_cli.here("report", folder.name, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    record = json.loads((folder / "job.json").read_text())
    assert document["results"] == record["results"]
    assert document["fingerprint"] == record["fingerprint"]
    assert document["requests"]["finish_reasons"] == {"stop": 5, "length": 1}
    assert document["requests"]["cut_share"] == 1 / 6
    assert document["teardown"]["clean"] is True


def test_results_come_as_a_table_of_one_row_per_score(reporting_cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = reporting_cli.here("report", str(folder), "--format", "csv", "--out", str(tmp_path / "r.csv"))
    assert done.stdout == f"{tmp_path / 'r.csv'}\n", done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(rows) == 1
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["asked"], rows[0]["answered"], rows[0]["score"][:5]) == ("6", "6", "83.33")
    assert rows[0]["fingerprint"] == json.loads((folder / "job.json").read_text())["fingerprint"]["digest"]


def test_a_page_and_markdown_are_made_again_from_what_is_kept(reporting_cli: Cli, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "again.html"
    assert reporting_cli.here("report", folder.name, "--out", str(page)).returncode == 0
    assert page.read_text() == (folder / "report.html").read_text()
    assert reporting_cli.here("report", folder.name, "--format", "md").stdout == (folder / "report.md").read_text()


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed here")
def test_without_its_package_an_export_names_the_line_that_installs_it(reporting_cli: Cli, folder: Path) -> None:
    done = reporting_cli.here("report", folder.name, "--format", "parquet")
    assert done.returncode == 1
    assert "needs the package `pyarrow`" in done.stderr
    assert "pip install 'serve-then-evaluate[parquet]'" in done.stderr
    assert not list(folder.glob("*.parquet"))


def test_samples_come_as_parquet_with_the_fingerprint_inside(reporting_cli: Cli, folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "samples.parquet"
    assert reporting_cli.here("report", folder.name, "--format", "parquet", "--out", str(path)).returncode == 0
    table = parquet.read_table(path)
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert table.to_pylist() == [json.loads(line) for line in lines]
    assert "digest" in json.loads(table.schema.metadata[b"orchestrator"])["fingerprint"]


def test_a_dry_run_writes_nothing(reporting_cli: Cli, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = reporting_cli.here("report", folder.name, "--out", str(path), "--dry-run")
    assert (done.returncode, done.stdout, path.exists()) == (0, "", False)
    assert f"would write {path}" in done.stderr


def test_an_unknown_run_is_refused_with_those_that_there_are(reporting_cli: Cli, folder: Path) -> None:
    done = reporting_cli.here("report", "no-such-job")
    assert done.returncode == 2
    assert folder.name in done.stderr
