"""Two ways of pressing an engine: so many requests in flight, or so many that arrive per second."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.evaluators.speed.asking import Timing, clock
from orchestrator.evaluators.speed.figures import Window

PAUSE = 0.1
"""Seconds after a failure: an engine that refuses at once must not be asked in a hot loop."""

Ask = Callable[[], Awaitable[Timing]]


@dataclass(frozen=True, slots=True)
class Pressed:
    """What came of it."""

    timings: Sequence[Timing]
    """Every request, all of them ended."""
    window: Window
    """In which the load was what it should be."""
    first: frozenset[int]
    """Ids of the timings of the first wave, which begins all at once as no real load does."""

    def counts(self, timing: Timing) -> bool:
        """Whether its latencies count."""
        return id(timing) not in self.first and timing.began >= self.window.begin

    @property
    def arrived_per_second(self) -> float:
        """Requests that began in the window."""
        return sum(self.window.begin <= timing.began < self.window.end for timing in self.timings) / self.window.seconds

    @property
    def failed_share(self) -> float:
        """Share of the requests that failed."""
        return sum(timing.failed is not None for timing in self.timings) / max(1, len(self.timings))


async def press_closed(ask: Ask, in_flight: int, seconds: float) -> Pressed:
    """Keep `in_flight` requests in flight; no new one begins after `seconds`, those in flight are waited for."""
    begin = clock()
    stop = begin + seconds

    async def worker() -> list[Timing]:
        own = [await ask()]
        while clock() < stop:
            if own[-1].failed:
                await asyncio.sleep(PAUSE)
            own.append(await ask())
        return own

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(worker()) for _ in range(in_flight)]
    waves = [task.result() for task in workers]
    repeated = all(len(own) > 1 for own in waves)
    first = frozenset(id(own[0]) for own in waves) if repeated else frozenset[int]()
    return Pressed([timing for own in waves for timing in own], Window(begin, stop), first)


async def press_open(ask: Ask, rate: float, seconds: float, seed: int, *, constant: bool) -> Pressed:
    """Begin `rate` requests per second for `seconds`, whatever comes back; all of them are waited for."""
    drawn = random.Random(seed)
    begin = due = clock()
    async with asyncio.TaskGroup() as group:
        tasks = []
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - clock()))
            tasks.append(group.create_task(_finished(ask)))
            due += 1 / rate if constant else drawn.expovariate(rate)
    timings = [task.result() for task in tasks]
    # Until the first have ended there are fewer in flight than later.
    rise = min(seconds / 2, median(timing.ended - timing.began for timing in timings))
    return Pressed(timings, Window(begin + rise, begin + seconds), frozenset())


async def _finished(ask: Ask) -> Timing:
    return await ask()
