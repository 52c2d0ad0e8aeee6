"""What the fake engine really did, and when: the truth that load tools are held against.

Times are in seconds of CLOCK_MONOTONIC, which on one machine every process shares (`time.monotonic`, `perf_counter`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from orchestrator.fake_engine.connection import Connection

_SO_TIMESTAMPNS = 35  # Linux: the kernel notes when data arrives; Python has no name for it
_TIMESPEC = struct.Struct("qq")
_BUFFER = 1 << 16


class Timings:
    """A file of JSON lines, one per answer: `id` (the N of `fake-N`), `arrived`, `tokens`."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def note(self, number: int, arrived: float, tokens: Sequence[float]) -> None:
        """An answer is over. `arrived`: when the request's first byte reached this machine's kernel; `tokens`: when
        each token was handed to it, or the whole of an answer that is not streamed.
        """
        self._file.write(orjson.dumps({"id": number, "arrived": arrived, "tokens": tokens}) + b"\n")


class TimedConnection(Connection, asyncio.BufferedProtocol):
    """A connection that knows from the kernel when a request arrived, however late it is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        super().connection_made(transport)
        self._buffer = bytearray(_BUFFER)
        self._socket: socket.socket = transport.get_extra_info("socket").dup()
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away."""
        super().connection_lost(exc)
        self._socket.close()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where asyncio shall put what has come: asked for just before it reads."""
        if self._begins:
            self.arrived = _arrival(self._socket)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes of a request."""
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))


def _arrival(sock: socket.socket) -> float:
    """When the next byte to be read arrived; now, where the kernel does not tell."""
    try:
        _, told, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(_TIMESPEC.size), socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        told = []
    for level, kind, data in told:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            wall: int = seconds * 1_000_000_000 + nanoseconds
            return (wall - _ahead()) / 1e9
    return time.monotonic()


def _ahead() -> int:
    """Nanoseconds by which the wall clock, which the kernel notes, is ahead of the monotonic one. Of a few looks the
    quickest counts: this process may lose the processor between two clocks.
    """

    def look() -> tuple[int, int]:
        before, wall = time.monotonic_ns(), time.time_ns()
        return time.monotonic_ns() - before, wall - before

    return min(look() for _ in range(3))[1]
