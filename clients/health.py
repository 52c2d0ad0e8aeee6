"""Does an engine that was ready still live? Its traffic tells first, a generation when it is quiet.

A health route is no evidence (it stays 200 while engines hang), and slow under load is not dead: any byte of
any answer counts as life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from clients.breaker import PROBE_FAILED
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


async def watch_breaker(replica: Replica, probe: Probe, *, pause: float = 1.0, patience: float = 10.0) -> NoReturn:
    """Watch until cancelled. While the breaker is not closed a generation is asked every `pause` seconds.

    Those that come back close it, so that no request of the evaluator is risked. Raises `EngineUnresponsive` when
    generations have done nothing but fail for `patience` seconds, five in a row at least, and nothing else was
    answered meanwhile.
    """
    replica.breaker.guarded = True
    try:
        while True:
            await replica.breaker.opened.wait()
            await _answering_again(replica, probe, pause=pause, patience=patience)
    finally:
        replica.breaker.guarded = False


async def _answering_again(replica: Replica, probe: Probe, *, pause: float, patience: float) -> None:
    clock = asyncio.get_running_loop().time
    breaker = replica.breaker
    failing_since, failed, answers = clock(), 0, breaker.answers
    while breaker.state != "closed":
        try:
            await probe()
            replica.generated_at = clock()
            breaker.success()
        except ClientError as error:
            complaint = str(error)
            breaker.failure(PROBE_FAILED)
            failed += 1
        if breaker.answers != answers:
            failing_since, failed, answers = clock(), 0, breaker.answers
        elif failed >= 5 and clock() - failing_since >= patience:
            raise EngineUnresponsive(
                f"{replica.name} ({replica.base_url}) answers nothing but errors: {complaint}",
                hint="see the engine's log: its process lives, but it does not generate any more",
            )
        else:
            await asyncio.sleep(pause)


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
                replica.generated_at = clock()
                return replica.generated_at
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
