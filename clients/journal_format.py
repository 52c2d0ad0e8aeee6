"""The journal on disk: gzip members, one for each write, found and checked without decompressing them.

Each member's extra field (RFC 1952, subfield `SE`) says how long it is, its CRC-32, whose answers it holds and the
digest of each answer's key. Decompressed, each answer is a line of JSON: `{key, serving, time, status, content_type,
replica, body}`, `body_base64` in place of `body` where it is not UTF-8. `gzip -dc FILE` therefore reads it all.
"""

from __future__ import annotations

import mmap
import struct
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

MAX_RECORDS = 1000
"""Answers in one member at most: the extra field holds 64 KiB."""

_START = b"\x1f\x8b\x08\x04"  # gzip, deflate, with an extra field
_HEAD = struct.Struct("<4sIBBH2sH")  # start, time, 0, 255 (system unknown), extra length, subfield, its length
_INDEX = struct.Struct("<III8sH")  # bytes of the member, its CRC-32, bytes decompressed, serving, answers
_ENTRY = struct.Struct("<16sI")  # digest of the key, bytes of the line
_INDEX_AT = _HEAD.size
_CRC_AT = _INDEX_AT + 4
_ENTRIES_AT = _INDEX_AT + _INDEX.size
_LEVEL = 1  # level 6 costs 4 times the CPU for a tenth less space


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A real answer of an engine."""

    status: int
    content_type: str
    body: bytes
    replica: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member is, and what it holds."""

    offset: int
    length: int
    serving: bytes
    """Digest of the fingerprint."""
    digests: tuple[bytes, ...]
    """Of the keys, in the order of the answers."""
    ends: tuple[int, ...]
    """Where each answer's line ends in the decompressed text."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a journal holds."""

    members: list[Member]
    damaged: int
    """Places between members that are none, for example after a fault of the disk."""
    damaged_bytes: int
    good_end: int
    """Where the last member ends; what follows was half written when its writer died."""
    size: int


def digest_of(key: str) -> bytes:
    """The digest of a key, 16 bytes."""
    return blake2b(key.encode(), digest_size=16).digest()


def serving_digest(fingerprint: str) -> bytes:
    """The digest of a serving fingerprint, 8 bytes."""
    return blake2b(fingerprint.encode(), digest_size=8).digest()


def encode_record(key: str, serving: str, now: float, answer: StoredAnswer) -> bytes:
    """One answer's line; `now` in Unix seconds."""
    try:
        name, body = "body", answer.body.decode()
    except UnicodeDecodeError:
        name, body = "body_base64", b64encode(answer.body).decode()
    record = {
        "key": key,
        "serving": serving,
        "time": now,
        "status": answer.status,
        "content_type": answer.content_type,
        "replica": answer.replica,
        name: body,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def answer_of(record: dict[str, Any]) -> StoredAnswer:
    """The answer of a decoded line."""
    text = record.get("body")
    body = b64decode(record["body_base64"]) if text is None else text.encode()
    return StoredAnswer(record["status"], record["content_type"], body, record["replica"])


def encode_member(serving: bytes, records: Sequence[tuple[str, bytes]]) -> bytes:
    """One member of at most `MAX_RECORDS` (key, line)."""
    text = b"".join([line for _, line in records])
    entries = b"".join([_ENTRY.pack(digest_of(key), len(line)) for key, line in records])
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    rest = b"".join(
        (entries, packer.compress(text), packer.flush(), struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFFFFFF))
    )
    extra = _INDEX.size + len(entries)
    head = _HEAD.pack(_START, int(time.time()), 0, 255, extra + 4, b"SE", extra)
    length = len(head) + _INDEX.size + len(rest)
    index = _INDEX.pack(length, 0, len(text) & 0xFFFFFFFF, serving, len(records))
    crc = struct.pack("<I", zlib.crc32(rest, zlib.crc32(head + index)))
    return b"".join((head, index[:4], crc, index[8:], rest))


def decode_member(member: bytes) -> bytes:
    """The lines of a whole member."""
    return zlib.decompress(member, wbits=zlib.MAX_WBITS | 16)


def scan(fd: int) -> Scan:
    """Find and check every member of an open journal. Bodies are read once for their CRC and not kept."""
    size = _size(fd)
    if size == 0:
        return Scan([], 0, 0, 0, 0)
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as data:
        return _scan(data, size)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Every line of every good member, decoded, in order. Raises `OSError`."""
    with path.open("rb") as file:
        for member in scan(file.fileno()).members:
            file.seek(member.offset)
            yield from map(orjson.loads, decode_member(file.read(member.length)).splitlines())


def _scan(data: mmap.mmap, size: int) -> Scan:
    members: list[Member] = []
    at = good_end = damaged = damaged_bytes = 0
    while 0 <= at < size:
        member = _member(data, at, size)
        if member is None:
            at = data.find(_START, at + 1)
            continue
        if at > good_end:
            damaged += 1
            damaged_bytes += at - good_end
        members.append(member)
        at = good_end = at + member.length
    return Scan(members, damaged, damaged_bytes, good_end, size)


def _member(data: mmap.mmap, at: int, size: int) -> Member | None:
    if at + _ENTRIES_AT > size:
        return None
    start, _, _, _, _, name, extra = _HEAD.unpack_from(data, at)
    length, crc, _, serving, count = _INDEX.unpack_from(data, at + _INDEX_AT)
    entries_end = _ENTRIES_AT + count * _ENTRY.size
    if start != _START or name != b"SE" or extra != _INDEX.size + count * _ENTRY.size:
        return None
    if length < entries_end or at + length > size or _crc(data, at, length) != crc:
        return None
    digests, lengths = zip(*_ENTRY.iter_unpack(data[at + _ENTRIES_AT : at + entries_end]), strict=True)
    ends, end = [], 0
    for one in lengths:
        end += one
        ends.append(end)
    return Member(at, length, serving, digests, tuple(ends))


def _crc(data: mmap.mmap, at: int, length: int) -> int:
    with memoryview(data) as view, view[at : at + length] as member:
        head = bytes(member[:_CRC_AT]) + bytes(4) + bytes(member[_CRC_AT + 4 : _ENTRIES_AT])
        return zlib.crc32(member[_ENTRIES_AT:], zlib.crc32(head))


def _size(fd: int) -> int:
    with open(fd, "rb", closefd=False) as file:
        return file.seek(0, 2)
