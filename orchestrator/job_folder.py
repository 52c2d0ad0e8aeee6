"""The folder of a job: its events first, then its record, both safe against a kill at any moment."""

from __future__ import annotations

import fcntl
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.errors import OrchestratorError
from orchestrator.record import JobRecord


class JobFolder:
    """`spec.json`, `events.jsonl`, `job.json`, `journal`, `logs/`, one folder per replica and per evaluation."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, jobs: Path) -> JobFolder:
        """A new folder with a name that sorts by time."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = cls(jobs / f"{stamp}-{secrets.token_hex(3)}")
        folder.logs.mkdir(parents=True)
        return folder

    @property
    def id(self) -> str:
        """The job's id."""
        return self.path.name

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.path / "logs"

    @property
    def journal(self) -> Path:
        """The answers that the engine gave."""
        return self.path / "journal"

    @property
    def requests(self) -> Path:
        """One row per request that the gateway was asked, JSON lines."""
        return self.path / "requests.jsonl"

    def log(self, name: str) -> Path:
        """Path of one log."""
        return self.logs / f"{name}.log"

    def lock(self) -> int:
        """Own the job for as long as this process lives; returns the descriptor to close at the end.

        Raises: BlockingIOError when another process owns it.
        """
        return own(self.path / "owner.lock")

    def owned(self) -> bool:
        """Whether a living process owns the job."""
        return is_owned(self.path / "owner.lock")

    def append_event(self, line: str) -> None:
        """Append one event; on disk when this returns."""
        with (self.path / "events.jsonl").open("a") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> int:
        """How many events there are."""
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                return sum(1 for _ in file)
        except FileNotFoundError:
            return 0

    def write(self, record: JobRecord) -> None:
        """Replace `job.json` in one step."""
        replace_text(self.path / "job.json", record.model_dump_json(indent=1))

    def read(self) -> JobRecord:
        """The record as it was last written.

        Raises: OrchestratorError when it was written by a version with other fields.
        """
        try:
            return JobRecord.model_validate_json((self.path / "job.json").read_text())
        except ValidationError as error:
            hint = f"it was written by another version; remove {self.path} once nothing of it runs"
            raise OrchestratorError(f"the record of job {self.id} cannot be read", hint=hint) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.replace(path)


def own(lock: Path) -> int:
    """Take an exclusive lock on `lock` and write our process id into it; returns the descriptor.

    Raises: BlockingIOError when another process holds it.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def is_owned(lock: Path) -> bool:
    """Whether a living process holds `lock`."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def owner_of(lock: Path) -> int | None:
    """Process id of the living owner, None when nobody holds the lock."""
    if not is_owned(lock):
        return None
    text = lock.read_text().strip()
    return int(text) if text.isdigit() else None
