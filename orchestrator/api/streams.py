"""Answers that go on while a job does: its events, its logs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from orchestrator.errors import NotFound
from orchestrator.record import Event

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment shows that the stream lives."""
POLL = 0.25
"""Seconds between two looks at a log that somebody follows."""
BLOCK = 64 * 1024
T = TypeVar("T")

Wait = Callable[[int, float], Awaitable[list[Event]]]
"""(after, timeout): the events after it, at once when there are some; raises NotFound when the job is gone."""


async def server_sent_events(wait: Wait, after: int, last: int | None, closing: asyncio.Event) -> AsyncIterator[str]:
    """The events with a larger `seq` than `after` as they come; ends after the terminal one, or the one of `last`."""
    yield "retry: 1000\n\n"
    with contextlib.suppress(NotFound):  # deleted while somebody watches
        while (events := await _unless(closing, wait(after, KEEP_ALIVE))) is not None:
            for event in events:
                yield f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"
                after = event.seq
                if event.state.terminal or event.seq == last:
                    return
            if not events:
                yield ": still here\n\n"


async def followed(
    reopen: Callable[[], int | None], over: Callable[[], bool], start: int, closing: asyncio.Event
) -> AsyncIterator[bytes]:
    """A log as it grows, from `start` of the file that is there now, until the job is over.

    `reopen` gives a descriptor of the log as it is now: another attempt begins another file, which is then followed
    from its first byte.
    """
    file = await asyncio.to_thread(reopen)
    try:
        while file is not None:
            last = await asyncio.to_thread(over)
            while chunk := await asyncio.to_thread(os.pread, file, BLOCK, start):
                start += len(chunk)
                yield chunk
            if last or await _unless(closing, _sleep()) is None:
                return
            fresh = await asyncio.to_thread(reopen)
            if fresh is None or os.fstat(fresh).st_ino == os.fstat(file).st_ino:
                if fresh is not None:
                    os.close(fresh)
                continue
            os.close(file)
            file, start = fresh, 0
    finally:
        if file is not None:
            os.close(file)


def start_of_tail(file: int, lines: int) -> int:
    """Where the last `lines` lines of an open file begin."""
    end = os.fstat(file).st_size
    left = lines
    position = end
    while position > 0 and lines > 0:
        start = max(0, position - BLOCK)
        block = os.pread(file, position - start, start)
        if position == end and block.endswith(b"\n"):
            left += 1  # the newline that ends the last line begins none
        found = len(block)
        while (found := block.rfind(b"\n", 0, found)) >= 0:
            left -= 1
            if left == 0:
                return start + found + 1
        position = start
    return 0 if lines > 0 else end


async def _sleep() -> bool:
    await asyncio.sleep(POLL)
    return True


async def _unless(closing: asyncio.Event, wanted: Awaitable[T]) -> T | None:
    """What `wanted` gives, or None as soon as the service stops."""
    asked = asyncio.ensure_future(wanted)
    closed = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({asked, closed}, return_when=asyncio.FIRST_COMPLETED)
        return await asked if asked.done() else None
    finally:
        for task in (asked, closed):
            task.cancel()
        await asyncio.gather(asked, closed, return_exceptions=True)
