"""Pages of jobs that failed and of comparisons."""

from __future__ import annotations

import json
from pathlib import Path

from tests.orchestrator.reporting.support import HOSTILE, hostile_job
from tests.orchestrator.support import Cli


def test_a_failed_job_has_a_page_with_the_cause_the_log_and_the_command(
    reporting_cli: Cli, folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "told.txt"
    log.write_text(HOSTILE)
    record = hostile_job(reporting_cli, tmp_path, "--exit-on-load", "1", "--load-log", str(log))
    page = (Path(record["folder"]) / "report.html").read_text()
    assert record["state"] == "failed"
    assert record["failure"]["code"] in page
    assert "To repeat it by hand" in page
    assert "--exit-on-load 1" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img" not in page


def test_a_comparison_is_a_page_and_a_table_and_refuses_what_is_made_of_one_job(
    reporting_cli: Cli, folder: Path, spec_folder: Path
) -> None:
    other = hostile_job(reporting_cli, spec_folder, "--wrong-rate", "1", name="wrong")
    done = reporting_cli.run("compare", folder.name, other["id"], "--json")
    found = json.loads(done.stdout)
    path = Path(reporting_cli.here("report", found["id"]).stdout.strip())
    page = path.read_text()
    assert path == reporting_cli.home.resolve() / "comparisons" / found["id"] / "comparison.html"
    assert "Flipped answers: 5" in page
    assert page.count("&lt;script&gt;alert(1)") >= 2
    assert "<script" not in page
    assert "<img" not in page
    table = reporting_cli.here("report", found["id"], "--format", "csv").stdout.splitlines()
    assert table[0].startswith("variant,data set and metric")
    assert len(table) == 3
    refused = reporting_cli.here("report", found["id"], "--format", "parquet")
    assert refused.returncode == 2
    assert other["id"] in refused.stderr
