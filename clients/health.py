"""Does an engine that was ready still live? Its traffic tells first, a generation when it is quiet.

A health route is no evidence (it stays 200 while engines hang), and slow under load is not dead: any byte of
any answer counts as life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from clients.errors import ClientError, EngineUnresponsive
from clients.replica import Replica

Probe = Callable[[], Awaitable[object]]
"""One real generation; raises a `ClientError` when none came back."""


async def watch_replica(replica: Replica, probe: Probe, *, interval: float, timeout: float) -> NoReturn:
    """Watch until cancelled. After `interval` seconds without a byte from the replica a generation is asked.

    Raises `EngineUnresponsive` when then neither traffic nor a generation has given a byte for `timeout`
    seconds.
    """
    clock = asyncio.get_running_loop().time
    alive = clock()
    while True:
        alive = max(alive, replica.last_success)
        quiet = clock() - alive
        if quiet < interval:
            await asyncio.sleep(interval - quiet)
        else:
            alive = await _proved_alive(replica, probe, pause=min(1.0, interval), timeout=timeout)


async def _proved_alive(replica: Replica, probe: Probe, *, pause: float, timeout: float) -> float:
    """The time of a sign of life since the call."""
    clock = asyncio.get_running_loop().time
    began = clock()
    complaint = "no generation came back"
    while clock() < began + timeout:
        generation = asyncio.ensure_future(probe())
        try:
            while not generation.done() and clock() < began + timeout:
                if replica.last_success > began:
                    return replica.last_success
                await asyncio.wait([generation], timeout=min(pause, began + timeout - clock()))
            if generation.done():
                generation.result()
                return clock()
        except ClientError as error:
            complaint = str(error)
        finally:
            generation.cancel()
            await asyncio.wait([generation])
        await asyncio.sleep(max(0.0, min(pause, began + timeout - clock())))
    raise EngineUnresponsive(
        f"{replica.name} ({replica.base_url}) gave not a byte for {timeout:g} s: {complaint}",
        hint="see the engine's log: it may hang although its process and its health route live",
    )
