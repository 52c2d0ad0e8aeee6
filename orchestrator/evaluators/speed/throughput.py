"""Throughput: so many prompts at once, answered whole, and the time until the last answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.evaluators.speed.bench import Bench, Watch, failures, other_length
from orchestrator.evaluators.speed.figures import average, percentiles
from orchestrator.spec.speed import ThroughputSpec
from orchestrator.speed import ThroughputSpeed


async def measure_throughput(bench: Bench, spec: ThroughputSpec, seed: int) -> list[ThroughputSpeed]:
    """One row; none where it does not fit."""
    if not bench.fits(spec.input + spec.output):
        bench.skipped.append(f"throughput: {spec.input} + {spec.output} tokens do not fit into {bench.limit}")
        return []
    maker = bench.maker.seeded(seed)
    prompts = [maker.make(spec.input) for _ in range(spec.prompts)]
    warm = await bench.client.whole(bench.maker.make(spec.input), spec.output)
    if warm.failed:
        bench.skipped.append(f"throughput: the warm-up failed ({warm.failed})")
        return []
    async with bench.watched() as watch:
        timings = await _all_at_once(bench, prompts, spec.output)
    answered = bench.count(timings)
    if not answered:
        bench.skipped.append(f"throughput: {failures(timings)[0]}")
        return []
    return [_figures(spec, seed, timings, answered, watch)]


async def _all_at_once(bench: Bench, prompts: Sequence[str], output: int) -> list[Timing]:
    async def one(prompt: str) -> Timing:
        timing = await bench.client.whole(prompt, output)
        bench.step()
        return timing

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(prompt)) for prompt in prompts]
    return [task.result() for task in tasks]


def _figures(
    spec: ThroughputSpec, seed: int, timings: Sequence[Timing], answered: Sequence[Timing], watch: Watch
) -> ThroughputSpeed:
    seconds = max(timing.ended for timing in answered) - min(timing.began for timing in answered)
    prompt = sum(timing.usage[0] if timing.usage else spec.input for timing in answered)
    output = sum(timing.generated for timing in answered)
    mean = output / len(answered)
    short = [f"only {mean:.1f} of {spec.output} tokens came"] if mean < spec.output else []
    return ThroughputSpeed(
        prompts=len(timings),
        input=round(prompt / len(answered)),
        output=average([timing.generated for timing in answered]) or 0.0,
        seed=seed,
        seconds=seconds,
        requests_per_second=len(answered) / seconds,
        output_tokens_per_second=output / seconds,
        total_tokens_per_second=(prompt + output) / seconds,
        latency=percentiles(timing.latency for timing in answered),
        memory=watch.memory.peak,
        failed=len(timings) - len(answered),
        invalid=[*failures(timings), *short, *other_length(spec.input, answered), *watch.invalid],
    )
