"""The answer journal: every answer of a job, durable before it is passed on, to be replayed by a resumed job.

What is stored is the engine's own answer: rules on answers apply on the way out, at a replay too. The format is
`journal_format`'s: `gzip -dc FILE | jq .` reads it, `orchestrator journal` shows, verifies and exports it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import orjson

from clients.errors import JournalError
from clients.journal_format import (
    MAX_RECORDS,
    Member,
    StoredAnswer,
    answer_of,
    decode_member,
    digest_of,
    encode_member,
    encode_record,
    scan,
    serving_digest,
)

__all__ = ["Journal", "StoredAnswer"]

_MAX_MEMBER = 256 * 1024  # bytes of lines in one member, but for a longer single answer: what a replay decompresses
_GATHER = 0.001  # seconds between two writes at least: a write costs a thread's hop, whatever it carries
_RECENT = 4  # members kept decompressed: answers come back in about the order in which they were stored


class Journal:
    """The journal of one job, open for this process alone.

    `fingerprint` names all that determines an answer besides the request (engine, version, model, serving parameters,
    rules on requests): only answers stored under the same fingerprint are replayed. Opened again after any end of its
    writer, it replays every answer that was passed on. What was half written at the end is cut (`cut_bytes`); places
    before good answers that hold none are left and counted (`damaged`). Raises `JournalError`.
    """

    def __init__(self, path: Path, *, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.answers = 0
        """Answers found on opening that this job may replay."""
        self.cut_bytes = 0
        self.damaged = 0
        self.syncs = 0
        """Writes made durable so far, each of one or more answers."""
        self._serving = serving_digest(fingerprint)
        self._members: list[Member] = []
        self._stored: defaultdict[bytes, list[int]] = defaultdict(list)
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT)
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._next_write = 0.0
        self._drained: asyncio.Future[None] | None = None
        self._broken: Exception | None = None
        self._fd = _open_locked(path)
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

    def take(self, key: str) -> StoredAnswer | None:
        """The stored answer to the next occurrence of this request, or None if it is to be asked.

        The nth identical request of this run gets the nth answer found on opening: samples of one prompt stay
        distinct. Answers appended since are never replayed to the run that asked for them.
        """
        if not self._stored:
            return None
        digest = digest_of(key)
        places = self._stored.get(digest)
        if places is None:
            return None
        place = places.pop()
        if not places:
            del self._stored[digest]
        return self._read(*divmod(place, MAX_RECORDS))

    async def append(self, key: str, answer: StoredAnswer) -> None:
        """Return once the answer is on the disk. Answers that wait at the same time share one fdatasync."""
        if self._broken is not None:
            raise self._unwritable(self._broken)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(key, encode_record(key, self.fingerprint, time.time(), answer), loop.create_future())
        self._waiting.append(waiting)
        if self._timer is None and not self._writing:
            self._timer = loop.call_at(self._next_write, self._write_waiting)
        await waiting.done

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._waiting or self._writing:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        self._thread.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self) -> None:
        found = scan(self._fd)
        self.damaged = found.damaged
        for member in found.members:
            if member.serving != self._serving:
                continue
            base = len(self._members) * MAX_RECORDS
            self._members.append(member)
            self.answers += len(member.digests)
            for number, digest in enumerate(member.digests):
                self._stored[digest].append(base + number)
        for places in self._stored.values():
            places.reverse()  # the first is taken from the end
        if found.size > found.good_end:
            self.cut_bytes = found.size - found.good_end
            os.ftruncate(self._fd, found.good_end)
            os.fsync(self._fd)

    def _read(self, number: int, record: int) -> StoredAnswer:
        text = next((text for at, text in self._recent if at == number), None)
        member = self._members[number]
        if text is None:
            try:
                text = decode_member(os.pread(self._fd, member.length, member.offset))
            except (OSError, zlib.error) as error:
                raise JournalError(f"the journal {self.path} changed under us at byte {member.offset}") from error
            self._recent.append((number, text))
        return answer_of(orjson.loads(text[member.ends[record - 1] if record else 0 : member.ends[record]]))

    def _write_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        batch, self._waiting = self._waiting, []
        self._timer, self._writing = None, True
        self._next_write = loop.time() + _GATHER
        self._thread.submit(self._write, batch, loop)

    def _write(self, batch: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            data = memoryview(b"".join([encode_member(self._serving, records) for records in _members_of(batch)]))
            while data:
                data = data[os.write(self._fd, data) :]
            os.fdatasync(self._fd)
        except Exception as failed:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            error = failed
        loop.call_soon_threadsafe(self._written, batch, error)

    def _written(self, batch: list[_Waiting], error: Exception | None) -> None:
        if error is not None:  # what the file holds now is unknown: nothing may follow it
            self._broken = error
            batch, self._waiting = batch + self._waiting, []
        self._writing = False
        self.syncs += 1
        for waiting in batch:
            if waiting.done.done():
                continue
            if error is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(self._unwritable(error))
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._next_write, self._write_waiting)
        elif self._drained is not None:
            self._drained.set_result(None)

    def _unwritable(self, error: Exception) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be written: {error}", hint="free space, then resume")


class _Waiting(NamedTuple):
    """An answer on its way to the disk."""

    key: str
    line: bytes
    done: asyncio.Future[None]


def _members_of(batch: Sequence[_Waiting]) -> Iterator[list[tuple[str, bytes]]]:
    records: list[tuple[str, bytes]] = []
    size = 0
    for waiting in batch:
        if records and (len(records) == MAX_RECORDS or size + len(waiting.line) > _MAX_MEMBER):
            yield records
            records, size = [], 0
        records.append((waiting.key, waiting.line))
        size += len(waiting.line)
    yield records


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
