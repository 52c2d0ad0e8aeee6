"""The answer journal: every answer of a job, durable before it is passed on, to be replayed by a resumed job.

One answer per line: the CRC-32 of the rest in eight hexadecimal digits, a space, and a JSON object `{key,
serving, time, status, content_type, replica, body}` (`body_base64` in place of `body` where it is not UTF-8).
To read it:

    cut -c10- answers.jsonl | jq .
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import zlib
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from clients.errors import JournalError


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A real answer of an engine."""

    status: int
    content_type: str
    body: bytes
    replica: str = ""


class Journal:
    """The journal of one job, open for this process alone.

    `fingerprint` names all that determines an answer besides the request (engine, version, model, serving
    parameters): only answers stored under the same fingerprint are replayed. What a crash left half written
    at the end is cut (`cut_bytes`); damaged lines before good ones are kept aside (`damaged_lines`). Raises
    `JournalError`.
    """

    def __init__(self, path: Path, *, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.cut_bytes = 0
        self.damaged_lines = 0
        self.syncs = 0
        """Writes made durable so far, each of one or more answers."""
        self._fd = _open_locked(path)
        self._stored: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Future[None] | None = None
        self._broken: OSError | None = None
        try:
            self._load()
        except OSError as error:
            os.close(self._fd)
            raise JournalError(f"the journal {path} cannot be read: {error}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def answers(self) -> int:
        """Answers found on opening that this job may replay."""
        return sum(map(len, self._stored.values()))

    def take(self, key: str) -> StoredAnswer | None:
        """The stored answer to the next occurrence of this request, or None if it is to be asked.

        The nth identical request of this run gets the nth answer found on opening: samples of one prompt stay
        distinct. Answers appended since are never replayed to the run that asked for them.
        """
        occurrence = self._taken[key]
        self._taken[key] += 1
        places = self._stored.get(key, ())
        if occurrence >= len(places):
            return None
        offset, length = places[occurrence]
        record = _decode(os.pread(self._fd, length, offset))
        if record is None:
            raise JournalError(f"the journal {self.path} changed under us at byte {offset}")
        return _answer(record)

    async def append(self, key: str, answer: StoredAnswer) -> None:
        """Return once the answer is on the disk. Answers that wait at the same time share one fdatasync."""
        if self._broken is not None:
            raise self._unwritable(self._broken)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((_encode(key, self.fingerprint, answer), done))
        if self._writing is None:
            self._write_waiting()
        await done

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # its callback starts the next batch
        self._thread.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self) -> None:
        good_end = offset = damaged = 0
        with open(self._fd, "rb", closefd=False) as file:
            for line in file:
                record = _decode(line)
                if record is None:
                    damaged += 1
                else:
                    good_end, self.damaged_lines = offset + len(line), damaged
                    if record["serving"] == self.fingerprint:
                        self._stored[record["key"]].append((offset, len(line)))
                offset += len(line)
        if offset > good_end:
            self.cut_bytes = offset - good_end
            os.ftruncate(self._fd, good_end)
            os.fsync(self._fd)

    def _write_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        lines = [line for line, _ in batch]
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, lines)
        self._writing.add_done_callback(lambda writing: self._written(batch, writing))

    def _write(self, lines: Sequence[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(self._fd, data) :]
        os.fdatasync(self._fd)

    def _written(self, batch: list[tuple[bytes, asyncio.Future[None]]], writing: asyncio.Future[None]) -> None:
        error = writing.exception()
        if isinstance(error, OSError):  # what the file holds now is unknown: nothing may follow it
            self._broken = error
            batch, self._waiting = batch + self._waiting, []
        self._writing = None
        self.syncs += 1
        for _, done in batch:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(self._unwritable(error))
        if self._waiting:
            self._write_waiting()

    def _unwritable(self, error: BaseException) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be written: {error}", hint="free space, then resume")


def _open_locked(path: Path) -> int:
    new = not path.exists()
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise JournalError(f"the journal {path} cannot be opened: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if new:
            _sync_folder(path.parent)
    except OSError as error:
        os.close(fd)
        raise JournalError(
            f"the journal {path} is in use by another process", hint="wait for that job to end, or stop it"
        ) from error
    return fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _encode(key: str, serving: str, answer: StoredAnswer) -> bytes:
    record = {
        "key": key,
        "serving": serving,
        "time": time.time(),
        "status": answer.status,
        "content_type": answer.content_type,
        "replica": answer.replica,
    }
    try:
        text = orjson.dumps({**record, "body": answer.body.decode()})
    except UnicodeDecodeError:
        text = orjson.dumps({**record, "body_base64": b64encode(answer.body).decode()})
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> dict[str, Any] | None:
    text = line[9:-1]
    if line[-1:] != b"\n" or line[:9] != b"%08x " % zlib.crc32(text):
        return None
    record: dict[str, Any] = orjson.loads(text)
    return record


def _answer(record: dict[str, Any]) -> StoredAnswer:
    text = record.get("body")
    body = b64decode(record["body_base64"]) if text is None else text.encode()
    return StoredAnswer(record["status"], record["content_type"], body, record["replica"])
