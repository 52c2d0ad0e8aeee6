"""The files of a job that go with its numbers."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.job_folder import replace_text
from orchestrator.reporting.document import results_document
from orchestrator.reporting.job import FinishedJob

_NAMES = ("report.html", "report.md", "results.json", "job.json", "samples.jsonl", "requests.jsonl")


def artifacts_of(job: FinishedJob) -> list[Path]:
    """Reports, results, record, samples, requests and plots, as far as they are there; writes `results.json`."""
    folder = job.folder.path
    replace_text(folder / "results.json", json.dumps(results_document(job), indent=1))
    return [path for path in (*(folder / name for name in _NAMES), *sorted(folder.glob("plots/*"))) if path.is_file()]
