"""The life of the fake engine: load (or not), open the port (or not), serve until a signal."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable

from orchestrator.fake_engine.answers import AnswerBook
from orchestrator.fake_engine.connection import Connection
from orchestrator.fake_engine.faults import Options, Startup
from orchestrator.fake_engine.server import FakeEngine
from orchestrator.fake_engine.timings import TimedConnection
from orchestrator.fake_engine.workers import end_workers, fork_detached_worker, fork_worker, take_signals

_LINE = b"FAKE engine: loading, and saying so at length " + b"." * 53 + b"\n"
_STEP = 0.05  # seconds between two writes of noise
_HANG_LOG = """\
ERROR init func start_router_process : the fake model cannot be loaded
Traceback (most recent call last):
  File "fake_engine", line 1, in load
RuntimeError: the fake model cannot be loaded"""
_EXIT_LOG = "RuntimeError: the fake model cannot be loaded"


def live(options: Options, book: AnswerBook) -> int:
    """Run until a signal or a planned end. Returns the exit code; some ends do not return."""
    _log(f"FAKE engine: no model here, answers are made up (model {options.model!r}, pid {os.getpid()})")
    workers = [fork_worker() for _ in range(options.processes.workers)]
    if workers:
        _log(f"FAKE engine: workers {' '.join(map(str, workers))}")
    if options.processes.detached_worker:
        _log(f"FAKE engine: detached worker {fork_detached_worker()} (ends only by SIGKILL)")
    take_signals(options.processes, workers)
    try:
        return asyncio.run(_serve(options, book))
    except OSError as error:
        _log(f"FAKE engine: cannot open {options.host}:{options.port}: {error.strerror}", sys.stderr.fileno())
        return 1
    finally:
        end_workers(workers)


async def _serve(options: Options, book: AnswerBook) -> int:
    engine, startup = FakeEngine(options, book), options.startup

    def connection() -> Connection:
        return (TimedConnection if options.timings else Connection)(engine.handle, options.faults.close_idle)

    if startup.bind_only:
        with _bound(options):
            _log("FAKE engine: bound, not listening")
            await asyncio.Event().wait()
    server = await _listen(options, connection) if startup.early else None
    await _load(startup)
    if startup.exit_code is not None:
        _log(startup.load_log or _EXIT_LOG, sys.stderr.fileno())
        # Connections of an early port must not delay the exit.
        return startup.exit_code
    if startup.hang:
        _log(startup.load_log or _HANG_LOG, sys.stderr.fileno())
        await asyncio.Event().wait()
    server = server or await _listen(options, connection)
    engine.loaded.set()
    port = server.sockets[0].getsockname()[1]
    _log(f"FAKE engine: ready on http://{options.host}:{port}")
    await server.serve_forever()
    return 0


async def _load(startup: Startup) -> None:
    """Take `load_time`, and write the noise evenly over it."""
    steps = max(1, round(startup.load_time / _STEP))
    for step in range(steps):
        first, last = startup.noise * step // steps, startup.noise * (step + 1) // steps
        _write(_noise(last - first), sys.stdout.fileno())
        await asyncio.sleep(startup.load_time / steps)


def _noise(size: int) -> bytes:
    """`size` bytes of whole lines, the last one shorter."""
    return (_LINE * (size // len(_LINE) + 1))[: max(size - 1, 0)] + b"\n" if size else b""


async def _listen(options: Options, connection: Callable[[], Connection]) -> asyncio.Server:
    listener = _bound(options)
    return await asyncio.get_running_loop().create_server(connection, sock=listener, backlog=2048)


def _bound(options: Options) -> socket.socket:
    # The protocol must be named: asyncio sets TCP_NODELAY only then, and tokens would come 40 ms late without.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
    except BaseException:
        listener.close()
        raise
    return listener


def _log(text: str, to: int | None = None) -> None:
    _write(text.encode("utf-8", "replace") + b"\n", sys.stdout.fileno() if to is None else to)


def _write(data: bytes, to: int) -> None:
    """All of `data`, blocking, and past the buffers of Python, which a signal handler may not enter again."""
    while data:
        data = data[os.write(to, data) :]
