"""Speed by context length: one request at a time, warmed up, repeated."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.evaluators.speed.bench import Bench, Watch, failures
from orchestrator.evaluators.speed.figures import average
from orchestrator.spec.speed import ContextSpec
from orchestrator.speed import ContextSpeed

WARM = 16
"""Tokens that the warm-up of each length generates."""


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
        warm = await bench.client.ask(bench.maker.make(length), min(WARM, spec.generate))
        if warm.failed:
            bench.skipped.append(f"context {length}: the warm-up failed ({warm.failed})")
            return None
        timings = []
        for prompt in [bench.maker.make(length) for _ in range(spec.repeats)]:
            timings.append(await bench.client.ask(prompt, spec.generate))
            bench.step()
    return _figures(bench, length, spec, timings, watch)


def _figures(bench: Bench, length: int, spec: ContextSpec, timings: Sequence[Timing], watch: Watch) -> ContextSpeed:
    answered = bench.count(timings)
    speeds = [timing.generated / timing.latency for timing in answered]
    generated = average([timing.generated for timing in answered]) or 0.0
    counted = {timing.usage[0] for timing in answered if timing.usage}
    short = [f"only {generated:.1f} of {spec.generate} tokens came"] if answered and generated < spec.generate else []
    return ContextSpeed(
        context=length,
        prompt_tokens=max(counted) if counted else None,
        generate=spec.generate,
        generated=generated,
        counted_by=answered[0].counted_by if answered else "events",
        speed=average(speeds),
        speeds=speeds,
        ttft=average([timing.ttft for timing in answered]),
        decode=average([1 / gap for timing in answered if (gap := timing.inter_token)]),
        memory=watch.memory.peak,
        failed=len(timings) - len(answered),
        invalid=[*failures(timings), *short, *_length_off(length, counted), *watch.invalid],
    )


def _length_off(wanted: int, counted: set[int]) -> list[str]:
    """A token more is what tokenizers add to the shortest prompt; more is another length."""
    off = [count for count in counted if abs(count - wanted) > max(2, wanted // 100)]
    return [f"the prompt has {off[0]} tokens, not {wanted}"] if off else []
