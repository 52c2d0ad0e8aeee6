"""What is left for people and programs after a job: `report.html`, `report.md`, `samples.jsonl`, plots of speeds."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.job_folder import JobFolder, replace_text
from orchestrator.plots import write_plots
from orchestrator.record import JobRecord
from orchestrator.reporting.job import commands_of
from orchestrator.reporting.markdown import markdown, requests_line, score_cell
from orchestrator.reporting.page import job_page
from orchestrator.reporting.traffic import read_traffic
from orchestrator.results import Sample

__all__ = ["markdown", "requests_line", "score_cell", "write_report"]


def write_report(folder: JobFolder, record: JobRecord, samples: Sequence[Sample]) -> None:
    """Write them into the job's folder."""
    lines = "".join(f"{sample.model_dump_json()}\n" for sample in samples)
    replace_text(folder.path / "samples.jsonl", lines)
    plots = write_plots(folder.path / "plots", record.speed)
    shown = [f"plots/{path.name}" for path in plots if path.suffix == ".svg"]
    replace_text(folder.path / "report.md", markdown(record, samples, shown))
    page = job_page(record, samples, read_traffic(folder.requests), commands_of(folder, record))
    replace_text(folder.path / "report.html", page)
