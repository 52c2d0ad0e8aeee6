"""TCP ports: who has one, leases that never clash, and the wait until they are free again. Linux only.

A lease is a lock file per port plus a probe by bind. Of 80 starts by 8 workers, a probe alone clashed 40
times, lock and probe together never. The default range lies below the kernel's ephemeral ports (32768-60999),
from which any outgoing connection may take one.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from launchers import locks
from launchers.errors import ForeignServer, PortInUse

RANGE = range(13000, 20000)
"""Ports that are leased when the user names none."""

_LOOK = 0.1  # seconds that somebody who only looks whether a port is leased may hold its lock
_LISTEN = "0A"  # states of a socket, include/net/tcp_states.h
_CLOSING = frozenset({"04", "05", "06", "09", "0B"})  # FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING


class PortLease:
    """A port that is ours until `release` or the end of this process; also a context manager."""

    def __init__(self, port: int, lock: locks.Lock) -> None:
        self.port = port
        self._lock = lock

    def fileno(self) -> int:
        """The lock's descriptor, for `ProcessTree.start(held=...)`."""
        return self._lock.fileno()

    def release(self) -> None:
        """Give the port back. Idempotent."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lease_port(
    folder: Path, *, owner: str, wanted: int | None = None, ports: range = RANGE, host: str = "127.0.0.1"
) -> PortLease:
    """Lease `wanted`, or any port of `ports` that nobody has; `folder` holds the lock files of this machine.

    `owner` is what others are told (a job id); the process id is added. `host` is the address that will be
    bound.

    Raises PortInUse (leased, bound by a process that does not listen, or none is left) and ForeignServer
    (somebody listens on `wanted`).
    """
    if (error := _bind_error(0, host)) is not None:
        raise PortInUse(f"nothing can be bound on {host}: {error}", hint="use an address of this machine")
    owner = f"{owner} (pid {os.getpid()})"
    if wanted is not None:
        return _lease_wanted(folder, owner, wanted, host)
    first = random.randrange(len(ports))
    for port in (*ports[first:], *ports[:first]):
        try:
            lock = locks.take(_lock_file(folder, port), owner)
        except locks.Held:
            continue
        if not is_listening(port) and _bind_error(port, host) is None and _bind_error(port, "0.0.0.0") is None:
            return PortLease(port, lock)
        lock.release()
    raise PortInUse(
        f"none of the ports {ports.start}-{ports.stop - 1} is free",
        hint="widen the range of ports in the settings",
    )


def is_bindable(port: int, host: str = "0.0.0.0") -> bool:
    """Tell whether a server could bind `port` now. Connections that only wait for their end do not count."""
    return not is_listening(port) and _obstacle(port, host) is None


def is_listening(port: int) -> bool:
    """Tell whether any process, of any user, listens on TCP `port`, v4 or v6."""
    return _LISTEN in _states(port)


def listeners(port: int) -> frozenset[int]:
    """Return the ids of the processes that listen on TCP `port`; those of other users are not told."""
    if not is_listening(port):
        return frozenset()
    return frozenset(
        found.pid
        for found in psutil.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid
    )


async def wait_free(ports: Iterable[int], timeout: float) -> frozenset[int]:
    """Wait up to `timeout` seconds until all of `ports` can be bound; return those that cannot."""
    end = time.monotonic() + timeout
    left = frozenset(port for port in ports if not is_bindable(port))
    while left and time.monotonic() < end:
        await asyncio.sleep(0.05)
        left = frozenset(port for port in left if not is_bindable(port))
    return left


def _lease_wanted(folder: Path, owner: str, port: int, host: str) -> PortLease:
    try:
        lock = locks.take(_lock_file(folder, port), owner, patience=_LOOK)
    except locks.Held as held:
        raise PortInUse(f"port {port} is leased by {held.owner}", hint=_HINT) from None
    if is_listening(port):
        lock.release()
        raise ForeignServer(f"port {port} is taken: {_who(port)} listens there; nothing of it was touched", hint=_HINT)
    if (obstacle := _obstacle(port, host)) is not None:
        lock.release()
        raise PortInUse(f"port {port} on {host} cannot be bound, and nobody listens there: {obstacle}", hint=_HINT)
    return PortLease(port, lock)


_HINT = "wait for it, stop it, or leave `port` out so that a free one is leased"


def _lock_file(folder: Path, port: int) -> Path:
    return folder / f"{port}.lock"


def _who(port: int) -> str:
    found = [_described(pid) for pid in sorted(listeners(port))]
    return " and ".join(found) or "a process of another user"


def _described(pid: int) -> str:
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        command = ""
    return f"process {pid} ({command[:200]})" if command else f"process {pid}"


def _obstacle(port: int, host: str) -> OSError | None:
    """Why a server could not bind.

    Servers bind with SO_REUSEADDR, but with that a socket that is bound and not yet listening (vLLM while it
    loads) goes unnoticed. So the probe is strict, and lenient only where dying connections explain a refusal.
    """
    error = _bind_error(port, host)
    if error is not None and _states(port) & _CLOSING:
        return _bind_error(port, host, socket.SO_REUSEADDR)
    return error


def _bind_error(port: int, host: str, *options: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            for option in options:
                probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind((host, port))
    except OSError as error:
        return error
    return None


def _states(port: int) -> set[str]:
    """Return the states of all TCP sockets whose local port is `port`, from /proc/net/tcp and tcp6."""
    ending = f":{port:04X}"
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        found |= {fields[3] for fields in map(str.split, lines) if fields[1].endswith(ending)}
    return found
