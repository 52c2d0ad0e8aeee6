"""What every part of a measurement uses: the client, the prompts, the memory of the engine, and how it went."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clients.honesty import Honesty
from orchestrator.evaluators.speed.asking import Client, Timing
from orchestrator.evaluators.speed.memory import Seen, ServingProcesses
from orchestrator.evaluators.speed.prompts import PromptMaker


@dataclass(slots=True)
class Watch:
    """What was seen while something was measured."""

    memory: Seen
    honesty: Honesty

    @property
    def invalid(self) -> list[str]:
        """Why what was measured is not the engine's speed, as far as our own process goes."""
        return [limited("the measuring process", self.honesty.snapshot())] if self.honesty.client_limited else []


@dataclass(slots=True)
class Bench:
    """The tools of a measurement."""

    client: Client
    maker: PromptMaker
    serving: ServingProcesses
    limit: int | None
    """Longest prompt and answer together; None: unknown."""
    step: Callable[[], None]
    """To be called after every request that counts."""
    asked: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Watch]:
        """Watch the engine's memory and our own gauges for the length of the block."""
        honesty = Honesty()
        async with self.serving.watched() as seen, honesty.watching():
            yield Watch(seen, honesty)

    def count(self, timings: Sequence[Timing]) -> list[Timing]:
        """Count requests and return those that were answered."""
        answered = [timing for timing in timings if timing.failed is None]
        self.asked += len(timings)
        self.failed += len(timings) - len(answered)
        return answered

    def fits(self, tokens: int) -> bool:
        """Whether prompt and answer of so many tokens fit, as far as known."""
        return self.limit is None or tokens <= self.limit


def limited(who: str, gauges: Mapping[str, float]) -> str:
    """Why a figure is not the engine's, for a process with these gauges (`clients.honesty`)."""
    late = f"{1000 * gauges['lag_p50']:.1f} ms in the middle, {1000 * gauges['lag_p99']:.0f} ms at p99"
    return f"{who} was the limit (event loop late by {late}; {gauges['cpu']:.0%} of a core used)"


def failures(timings: Sequence[Timing]) -> list[str]:
    """`2 of 3 requests failed (timeout)`, or nothing."""
    causes = [timing.failed for timing in timings if timing.failed]
    named = ", ".join(dict.fromkeys(causes))
    return [f"{len(causes)} of {len(timings)} requests failed ({named})"] if causes else []


def prompt_lengths(timings: Sequence[Timing]) -> set[int]:
    """Tokens of the prompts, as far as the engine tells."""
    return {timing.usage[0] for timing in timings if timing.usage and timing.usage[0]}


def other_length(wanted: int, timings: Sequence[Timing]) -> list[str]:
    """`the prompt has 70 tokens, not 64`, or nothing. One or two more are what tokenizers add to a short prompt."""
    off = [count for count in sorted(prompt_lengths(timings)) if abs(count - wanted) > max(2, wanted // 100)]
    return [f"the prompt has {off[0]} tokens, not {wanted}"] if off else []
