"""Answers too large to be held in memory: their bodies go to files beside the journal.

The journal then holds a reference in place of the body: content type `SPOOLED`, body `{"file", "size", "blake2b",
"content_type", "tokens"}`, `file` relative to the folder `FOLDER` beside the journal. `find` leads from the one to the
other.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

import orjson

from clients.errors import JournalError

LARGE = 4 << 20
"""Bytes above which an answer goes to a file."""
SPOOLED = "application/vnd.orchestrator.spooled+json"
FOLDER = "large"

_BATCH = 1 << 20  # bytes that are written at once
_PIECE = 256 << 10  # bytes that are read at once
_UNFINISHED = ".part"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A whole answer in a file, as the journal refers to it."""

    file: str
    size: int
    blake2b: str
    content_type: str
    tokens: tuple[int, int] | None = None
    """(prompt, completion), where the engine told."""

    @property
    def reference(self) -> bytes:
        """What stands in the journal in place of the body."""
        return orjson.dumps(asdict(self))


class Spool:
    """The body of one answer while it arrives: in memory up to `limit` bytes, then in a file in `folder`.

    Without a folder the file has no name and is gone when closed. Writing happens in a thread; `add` returns when
    more may be read. Raises `JournalError` when the file cannot be written.
    """

    def __init__(self, folder: Path | None, limit: int = LARGE) -> None:
        self.size = 0
        self._folder = folder
        self._limit = limit
        self._pieces: list[bytes] = []
        self._pending = 0
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._digest = blake2b(digest_size=16)

    @property
    def whole(self) -> bytes | None:
        """The body, if it is small enough to be in memory."""
        return b"".join(self._pieces) if self.size <= self._limit else None

    async def add(self, data: bytes) -> None:
        """More of the body."""
        self._pieces.append(data)
        self.size += len(data)
        self._pending += len(data)
        if self.size > self._limit and self._pending >= _BATCH:
            await self._in_thread()

    async def keep(self, name: str, content_type: str, tokens: tuple[int, int] | None) -> Spooled:
        """Make the file durable, under a name that begins with `name`."""
        await self._in_thread(durable=True)
        assert self._path is not None
        self._path = await asyncio.to_thread(_settle, self._path, name)
        return Spooled(self._path.name, self.size, self._digest.hexdigest(), content_type, tokens)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body from its beginning, from the file."""
        await self._in_thread()
        assert self._file is not None
        self._file.seek(0)
        while data := await asyncio.to_thread(self._file.read, _PIECE):
            yield data

    def close(self) -> None:
        """Let go of the file; one that was not kept is removed."""
        if self._file is not None:
            self._file.close()
        if self._path is not None and self._path.suffix == _UNFINISHED:
            self._path.unlink(missing_ok=True)

    async def _in_thread(self, *, durable: bool = False) -> None:
        pieces, self._pieces, self._pending = self._pieces, [], 0
        try:
            await asyncio.to_thread(self._write, pieces, durable=durable)
        except OSError as error:
            raise JournalError(f"a large answer cannot be written: {error}", hint="free space, then resume") from error

    def _write(self, pieces: list[bytes], *, durable: bool) -> None:
        file = self._file or self._open()
        for piece in pieces:
            self._digest.update(piece)
            file.write(piece)
        file.flush()
        if durable:
            os.fdatasync(file.fileno())

    def _open(self) -> IO[bytes]:
        if self._folder is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives on
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            fd, path = tempfile.mkstemp(_UNFINISHED, dir=self._folder)
            self._path, self._file = Path(path), open(fd, "w+b", buffering=0)  # noqa: PTH123, SIM115 - lives on
        return self._file


def beside(journal: Path) -> Path:
    """The folder of a journal's large answers. What a crash left half written there is removed.

    Only for who holds the journal's lock.
    """
    folder = journal.parent / FOLDER
    for left in folder.glob(f"*{_UNFINISHED}"):
        left.unlink(missing_ok=True)
    return folder


async def find(folder: Path, reference: bytes) -> tuple[Spooled, Path] | None:
    """The answer that a journal's record refers to, and where; None if its file is not as it was (read whole)."""
    fields = orjson.loads(reference)
    tokens = fields.pop("tokens")
    spooled = Spooled(**fields, tokens=(tokens[0], tokens[1]) if tokens else None)
    path = folder / Path(spooled.file).name
    return (spooled, path) if await asyncio.to_thread(_as_it_was, path, spooled) else None


async def read_pieces(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a file, a piece at a time."""
    with await asyncio.to_thread(path.open, "rb", 0) as file:
        while data := await asyncio.to_thread(file.read, _PIECE):
            yield data


def _settle(path: Path, name: str) -> Path:
    settled = path.with_name(f"{name}-{path.stem}")
    path.rename(settled)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return settled


def _as_it_was(path: Path, spooled: Spooled) -> bool:
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb", 0) as file:
            while data := file.read(_PIECE):
                digest.update(data)
    except OSError:
        return False
    return digest.hexdigest() == spooled.blake2b
