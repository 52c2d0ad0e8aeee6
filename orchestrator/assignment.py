"""What the service gives an attempt, and where it is found: small files, written in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from launchers.errors import ForeignServer, GpuUnavailable, PortInUse
from orchestrator.job_folder import JobFolder

BASE = Path("/")
"""Where relative paths in a spec that came to the service start: only names and absolute paths are found there."""


TAKEN = frozenset({GpuUnavailable.code, PortInUse.code, ForeignServer.code})
"""Codes of an attempt whose GPUs or port somebody else took first: the job goes back into the queue."""


class Assignment(BaseModel):
    """`assignment.json` in the job's folder; only its user can read it, for the token in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempt: int
    gpus: tuple[int, ...]
    """Leased for it; none where it uses a deployment."""
    url: str
    """Of the service, when the attempt began."""
    token: str
    """What its reports carry."""
    deployment: Path | None = None
    """Folder of the deployment that serves the model, None where the job serves it itself."""


class Address(BaseModel):
    """`service.json` in the home folder: the service that runs, or ran last."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str
    pid: int


def write_assignment(folder: JobFolder, assignment: Assignment) -> None:
    """Replace the assignment of the job."""
    _write_privately(folder.assignment, assignment.model_dump_json())


def read_assignment(folder: JobFolder) -> Assignment:
    """The current assignment. Raises: FileNotFoundError."""
    return Assignment.model_validate_json(folder.assignment.read_text())


def write_address(home: Path, address: Address) -> None:
    """Say where the service is."""
    _write_privately(home / "service.json", address.model_dump_json())


def read_address(home: Path) -> Address | None:
    """Where the service is or was; None where there never was one."""
    try:
        return Address.model_validate(json.loads((home / "service.json").read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _write_privately(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    scratch.replace(path)
