"""Speed by context length: one request at a time, warmed up, repeated.

The speed is that of answers that come whole, as evaluators ask for them; the time to the first token is that of short
streamed ones. Engines pay for streaming: llama-cpp-python is less than half as fast when each token is an event.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.evaluators.speed.bench import Bench, Watch, failures, other_length, prompt_lengths
from orchestrator.evaluators.speed.figures import average
from orchestrator.spec.speed import ContextSpec
from orchestrator.speed import ContextSpeed

SHORT = 16
"""Tokens that the warm-up of each length generates, and the requests that are streamed for their first token."""


async def measure_context(bench: Bench, spec: ContextSpec) -> list[ContextSpeed]:
    """A row per length that fits."""
    rows = []
    for length in spec.lengths:
        if bench.fits(length + spec.generate):
            row = await _row(bench, length, spec)
            rows.extend([row] if row else [])
        else:
            wanted = f"{length} + {spec.generate} tokens"
            bench.skipped.append(f"context {length}: {wanted} do not fit into {bench.limit}")
    return rows


async def _row(bench: Bench, length: int, spec: ContextSpec) -> ContextSpeed | None:
    async with bench.watched() as watch:
        short = min(SHORT, spec.generate)
        warm = await bench.client.whole(bench.maker.make(length), short)
        if warm.failed:
            bench.skipped.append(f"context {length}: the warm-up failed ({warm.failed})")
            return None
        streamed, timings = [], []
        for _ in range(spec.repeats):
            streamed.append(await bench.client.stream(bench.maker.make(length), short))
            timings.append(await bench.client.whole(bench.maker.make(length), spec.generate))
            bench.step()
    ttft = average([timing.ttft for timing in streamed if timing.failed is None])
    return _figures(bench, length, spec, timings, ttft, watch)


def _figures(
    bench: Bench, length: int, spec: ContextSpec, timings: Sequence[Timing], ttft: float | None, watch: Watch
) -> ContextSpeed:
    answered = bench.count(timings)
    speeds = [timing.generated / timing.latency for timing in answered]
    generated = average([timing.generated for timing in answered]) or 0.0
    counted = prompt_lengths(answered)
    short = [f"only {generated:.1f} of {spec.generate} tokens came"] if answered and generated < spec.generate else []
    unknown = ["the engine does not tell how many tokens it generated"] if not all(map(_counted, answered)) else []
    return ContextSpeed(
        context=length,
        prompt_tokens=max(counted) if counted else None,
        generate=spec.generate,
        generated=generated,
        counted_by=answered[0].counted_by if answered else "events",
        speed=average(speeds),
        speeds=speeds,
        ttft=ttft,
        decode=average([rate for timing in answered if (rate := _after_first(timing, ttft))]),
        memory=watch.memory.peak,
        failed=len(timings) - len(answered),
        invalid=[*failures(timings), *(unknown or short), *other_length(length, answered), *watch.invalid],
    )


def _after_first(timing: Timing, ttft: float | None) -> float | None:
    """Tokens per second after the first one."""
    if ttft is None or timing.latency <= ttft or timing.generated < 2:
        return None
    return (timing.generated - 1) / (timing.latency - ttft)


def _counted(timing: Timing) -> bool:
    return timing.counted_by != "events"
