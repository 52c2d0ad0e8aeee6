"""The folder of a job: its events first, then its record, both safe against a kill at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from orchestrator.errors import OrchestratorError
from orchestrator.record import Event, JobRecord

KEPT = frozenset(
    {"spec.json", "assignment.json", "events.jsonl", "job.json", "journal", "large", "owner.lock", "attempts"}
)
"""What every attempt of a job shares; the rest belongs to one attempt."""


class JobFolder:
    """`spec.json`, `events.jsonl`, `job.json`, `journal`, `logs/`, one folder per replica and per evaluation.

    In a job of the service `assignment.json` too, and what earlier attempts left in `attempts/N/`.
    """

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
    def spec(self) -> Path:
        """The job's spec, in a job of the service."""
        return self.path / "spec.json"

    @property
    def assignment(self) -> Path:
        """What the current attempt was given, in a job of the service."""
        return self.path / "assignment.json"

    @property
    def large(self) -> Path:
        """Folder of the answers that are too large for the journal."""
        return self.path / "large"

    @property
    def requests(self) -> Path:
        """One row per request that the gateway was asked, JSON lines."""
        return self.path / "requests.jsonl"

    def log(self, name: str) -> Path:
        """Path of one log."""
        return self.logs / f"{name}.log"

    @contextlib.contextmanager
    def holding(self, *, patience: float = 1.0) -> Iterator[None]:
        """Own the job within a `with` block. Raises: BlockingIOError when another process owns it, as `own` says."""
        descriptor = own(self._lock, patience=patience)
        try:
            yield
        finally:
            os.close(descriptor)

    def owned(self) -> bool:
        """Whether a living process owns the job."""
        return is_owned(self._lock)

    def owner(self) -> int | None:
        """Process id of the living owner."""
        return owner_of(self._lock)

    def beat(self) -> None:
        """The owner is well: seen on disk where the service cannot be reached."""
        os.utime(self._lock)

    def beaten_at(self) -> float:
        """When the owner last was well, in seconds since the epoch; 0 when nobody ever owned the job."""
        try:
            return self._lock.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def append_event(self, line: str) -> None:
        """Append one event; on disk when this returns."""
        with self._events.open("a") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self, after: int = 0) -> list[Event]:
        """The events with a larger `seq`; one that was cut by a kill is none."""
        try:
            lines = self._events.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [event for line in lines if (event := Event.model_validate_json(line)).seq > after]

    def last_seq(self) -> int:
        """`seq` of the last event, 0 before the first: they count from 1."""
        try:
            with self._events.open("rb") as file:
                return sum(line.endswith(b"\n") for line in file)
        except FileNotFoundError:
            return 0

    def mend(self) -> None:
        """Remove an event that was cut by a kill; only its owner may."""
        with contextlib.suppress(FileNotFoundError), self._events.open("rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)

    def carry_answers(self, earlier: JobFolder) -> None:
        """Take over what the engine answered to an earlier job.

        The journal is appended to, so it is copied; the large answers beside it never change, so they are linked.
        """
        if earlier.journal.is_file():
            shutil.copyfile(earlier.journal, self.journal)
        if earlier.large.is_dir():
            shutil.copytree(earlier.large, self.large, copy_function=_linked)

    def rewrite_events(self, lines: Iterable[str]) -> None:
        """Have exactly these events; only its owner may."""
        replace_text(self._events, "".join(f"{line}\n" for line in lines))

    def archive(self, attempt: int) -> None:
        """Put away what an earlier attempt left, so that the next one begins with an empty folder."""
        left = [path for path in self.path.iterdir() if path.name not in KEPT and not path.name.startswith(".")]
        place = self.path / "attempts" / str(attempt)
        place.mkdir(parents=True, exist_ok=True)
        for path in left:
            path.rename(place / path.name)
        self.logs.mkdir()

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

    @property
    def _lock(self) -> Path:
        return self.path / "owner.lock"

    @property
    def _events(self) -> Path:
        return self.path / "events.jsonl"


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, Path(target))


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.replace(path)


def own(lock: Path, *, patience: float = 1.0) -> int:
    """Take an exclusive lock on `lock` and write our process id into it; returns the descriptor.

    Waits for `patience` seconds at most, blocking: somebody may just be looking whether it is owned.
    Raises: BlockingIOError when another process holds it.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise
        time.sleep(0.005)
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
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not see each other
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
