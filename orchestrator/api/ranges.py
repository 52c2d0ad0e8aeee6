"""Files over HTTP: whole or a range, resumable, and never run by a browser."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import PurePosixPath
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.api.problems import HttpError

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_TEXT = {".log", ".md", ".txt", ".py", ".yaml", ".yml", ".csv", ".jsonl"}
"""Shown as text; what is neither that nor JSON or a picture is for saving."""


def file_response(request: Request, file: int, path: str) -> Response:
    """The open file `file`, or the part of it that `Range` asks for; closes it in the end.

    Raises: HttpError 416 for a range outside the file.
    """
    facts = os.fstat(file)
    tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
    headers = {
        "ETag": tag,
        "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Type": _type_of(path),
        "Content-Disposition": f"{_disposition(path)}; filename*=UTF-8''{quote(PurePosixPath(path).name)}",
    }
    if tag in _tags(request.headers.get("if-none-match", "")):
        os.close(file)
        return Response(status_code=304, headers=headers)
    try:
        wanted = _range(request, tag, facts.st_size)
    except HttpError:
        os.close(file)
        raise
    start, end = wanted or (0, facts.st_size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{facts.st_size}"
    return HeldFile(file, start, end, headers, 206 if wanted else 200)


class HeldFile(StreamingResponse):
    """The bytes of an open file from `start` to `end`; closes it, even when the client left before the first one."""

    def __init__(self, file: int, start: int, end: int, headers: dict[str, str], status: int = 200) -> None:
        super().__init__(_chunks(file, start, end), status, headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._file)


async def _chunks(file: int, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        # A file that shrank ends the connection early, which the client notices by the length it was told.
        chunk = await asyncio.to_thread(os.pread, file, min(CHUNK, end - start), start)
        if not chunk:
            return
        start += len(chunk)
        yield chunk


def _range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None for the whole file, also for several ranges and absurd numbers."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if asked is None or request.headers.get("if-range", tag) != tag:
        return None
    first, last = asked.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    if start >= size or start >= end:
        told = f"the range {request.headers['range']} is outside the file of {size} bytes"
        raise HttpError(416, "range_not_satisfiable", told, headers={"Content-Range": f"bytes */{size}"})
    return start, end


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _type_of(path: str) -> str:
    suffix = PurePosixPath(path).suffix
    if suffix == ".json":
        return "application/json"
    if suffix in _TEXT:
        return "text/plain; charset=utf-8"
    return "image/png" if suffix == ".png" else "application/octet-stream"


def _disposition(path: str) -> str:
    return "attachment" if _type_of(path) == "application/octet-stream" else "inline"
