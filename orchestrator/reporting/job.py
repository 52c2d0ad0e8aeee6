"""A job that is over, as its folder keeps it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord
from orchestrator.reporting.traffic import Traffic, read_traffic
from orchestrator.results import Sample

Commands = list[tuple[str, str]]
"""(what it does, the line for a shell)"""


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """What reports and exports are made of."""

    folder: JobFolder
    record: JobRecord
    samples: list[Sample]
    traffic: Traffic


def read_job(path: Path) -> FinishedJob:
    """The job in `path`. Raises: OrchestratorError when another version wrote it."""
    folder = JobFolder(path)
    return FinishedJob(folder, folder.read(), read_samples(path / "samples.jsonl"), read_traffic(folder.requests))


def read_samples(path: Path) -> list[Sample]:
    """The samples of a job; none where it did not get that far."""
    if not path.is_file():
        return []
    with path.open() as lines:
        return [Sample.model_validate_json(line) for line in lines]


def commands_of(folder: JobFolder, record: JobRecord) -> Commands:
    """What to type to have one part of it again, by hand."""
    served = [(f"{one['name']} by hand", _shell(one)) for one in record.resources.get("replicas", [])]
    told = [(event.message, event.data["command"]) for event in folder.events() if "command" in event.data]
    evaluators = {what.removesuffix(" starts"): command for what, command in told if what.endswith(" starts")}
    return [*served, *((f"{what} by hand", str(command)) for what, command in evaluators.items())]


def _shell(replica: dict[str, Any]) -> str:
    variables = [f"{name}={shlex.quote(str(value))}" for name, value in sorted(replica["env"].items())]
    return f"cd {shlex.quote(replica['cwd'])} && env {' '.join(variables)} {shlex.join(replica['argv'])}"
