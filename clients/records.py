"""One row per request: how long it waited, when its tokens came, how many, from whom.

Rows go to a file of JSON lines, in batches, so that memory stays bounded; `write_parquet` makes a Parquet file of it
where pyarrow is installed (`pip install 'serve-then-evaluate[parquet]'`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from clients.connection import Headers
from clients.request import InferenceRequest
from clients.rules.base import Reply

_log = logging.getLogger(__name__)
_BATCH = 128  # rows in memory at most: 0.3 ms to write
_GAPS = 2048  # inter-token times kept per request: of a longer stream every second, fourth, ... one
_ROWS = 20_000  # rows of one Parquet row group
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"(\w+)"')  # quotes within a text are escaped: no answer can say it
_SAYS = re.compile(rb'"(?:content|text|reasoning|reasoning_content)"\s*:\s*"[^"]')


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request. Durations in seconds; None where there is nothing to tell."""

    time: float
    """Unix time at which it came in."""
    path: str
    key: str
    """Hash of the canonical request, as in the journal."""
    streaming: bool
    status: int
    """HTTP status of the answer; of a failure, that which it is told with where it is not marked."""
    cause: str | None
    """Why it failed."""
    replica: str
    """The last one asked; empty if none was."""
    attempts: int
    replayed: bool
    """Answered from the journal."""
    queue_wait: float
    """Waiting for a replica, all attempts together."""
    first_byte: float | None
    """From the request to the first byte of the answer that was passed on."""
    first_token: float | None
    """From the request to the first text of a stream."""
    inter_token_p50: float | None
    """Between the pieces of a stream that carry its text, as they were passed on."""
    inter_token_p99: float | None
    inter_token_max: float | None
    total: float
    """From the request to the end of its answer."""
    prompt_tokens: int | None
    completion_tokens: int | None
    finish_reason: str | None = None
    """Why the engine ended its (first) answer: `stop`, `length`, ...; None where it does not tell."""


class TimedReply:
    """A reply that notes when its pieces were passed on."""

    def __init__(self, reply: Reply, asked: float) -> None:
        self.first_byte: float | None = None
        self.first_token: float | None = None
        self._reply = reply
        self._asked = asked
        self._finish: str | None = None
        self._streams = False
        self._last = asked
        self._gaps: list[float] = []
        self._longest = 0.0
        self._stride = 1
        self._count = 0

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Visit`."""
        self.first_byte = time.monotonic() - self._asked
        self._look_for_finish(body)
        await self._reply.whole(status, headers, body)

    async def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """See `Visit`."""
        self.first_byte = time.monotonic() - self._asked
        self._streams = length is None
        await self._reply.start(status, headers, length=length)

    async def piece(self, data: bytes) -> None:
        """See `Visit`."""
        self._look_for_finish(data)
        if self._streams:
            now = time.monotonic()
            if self.first_token is not None:
                self._add(now - self._last)
            elif _SAYS.search(data):
                self.first_token = now - self._asked
            self._last = now
        await self._reply.piece(data)

    async def end(self) -> None:
        """See `Visit`."""
        await self._reply.end()

    def row(
        self,
        request: InferenceRequest,
        *,
        status: int,
        cause: str | None,
        replica: str,
        attempts: int,
        queue_wait: float,
        tokens: tuple[int, int] | None,
        replayed: bool,
    ) -> RequestRow:
        """The row of a request that ends now."""
        now, total = time.time(), time.monotonic() - self._asked
        median, high, longest = self._inter_token()
        return RequestRow(
            time=now - total,
            path=request.path,
            key=request.key,
            streaming=request.streaming,
            status=status,
            cause=cause,
            replica=replica,
            attempts=attempts,
            replayed=replayed,
            queue_wait=queue_wait,
            first_byte=self.first_byte,
            first_token=self.first_token,
            inter_token_p50=median,
            inter_token_p99=high,
            inter_token_max=longest,
            total=total,
            prompt_tokens=tokens[0] if tokens else None,
            completion_tokens=tokens[1] if tokens else None,
            finish_reason=self._finish,
        )

    def _look_for_finish(self, data: bytes) -> None:
        if self._finish is None and (found := _FINISH.search(data)):
            self._finish = found[1].decode()

    def _inter_token(self) -> tuple[float, float, float] | tuple[None, None, None]:
        if not self._gaps:
            return None, None, None
        gaps = sorted(self._gaps)
        return gaps[len(gaps) // 2], gaps[min(len(gaps) - 1, int(len(gaps) * 0.99))], self._longest

    def _add(self, gap: float) -> None:
        self._longest = max(self._longest, gap)
        if self._count % self._stride == 0:
            self._gaps.append(gap)
            if len(self._gaps) == _GAPS:
                del self._gaps[1::2]
                self._stride *= 2
        self._count += 1


class RequestRecords:
    """The rows of one job, appended to `path` (JSON lines).

    Rows that the disk does not take are dropped and counted in `lost`: they are worth no answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        """Rows so far."""
        self.lost = 0
        self._rows: list[RequestRow] = []
        self._file: IO[bytes] = path.open("ab")

    def add(self, row: RequestRow) -> None:
        """One more; written with the next batch."""
        self._rows.append(row)
        self.written += 1
        if len(self._rows) == _BATCH:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        with contextlib.suppress(OSError):
            self._file.close()

    def _flush(self) -> None:
        try:
            self._file.write(b"".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in self._rows]))
            self._file.flush()
        except OSError as error:
            self.lost += len(self._rows)
            _log.warning("%d rows about requests are lost: %s", len(self._rows), error)
        self._rows.clear()


def write_parquet(rows: Path, parquet: Path) -> bool:
    """Make a Parquet file of the JSON lines that `RequestRecords` wrote; False when pyarrow is not installed.

    Raises `OSError`.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return False
    # By name: half a second of imports, of a package that need not be there.
    pyarrow, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    schema = pyarrow.schema([(name, kind()) for name, kind in _columns(pyarrow)])
    scratch = parquet.with_name(f".{parquet.name}")
    with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(group, schema=schema))
    scratch.replace(parquet)
    return True


def _columns(pyarrow: Any) -> Iterator[tuple[str, Any]]:
    kinds = {"float": pyarrow.float64, "str": pyarrow.string, "bool": pyarrow.bool_, "int": pyarrow.int64}
    for name, annotation in RequestRow.__annotations__.items():
        yield name, kinds[annotation.removesuffix(" | None")]


def _groups(rows: Path) -> Iterator[list[dict[str, Any]]]:
    with rows.open("rb") as file:
        while lines := list(islice(file, _ROWS)):
            yield [row for line in lines if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    """None for a line that a full disk or a crash left half written."""
    try:
        row: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row
