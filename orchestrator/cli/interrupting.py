"""Work in this process that a person or a machine may interrupt: it ends in a clean teardown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run_interruptible(work: Callable[[], Awaitable[T]], interrupt: Callable[[str], None]) -> tuple[bool, T]:
    """Run `work` in an event loop of its own; whether it was ended by Ctrl-C, and what it returned.

    `interrupt` is told the name of each SIGINT, SIGTERM and SIGHUP that comes meanwhile.
    """
    return uvloop.run(_watched(work, interrupt))


async def _watched(work: Callable[[], Awaitable[T]], interrupt: Callable[[str], None]) -> tuple[bool, T]:
    received: list[signal.Signals] = []

    def pass_on(number: signal.Signals) -> None:
        received.append(number)
        interrupt(number.name)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, pass_on, number)
    done = await work()
    return received[:1] == [signal.SIGINT], done
