"""A sweep over rising load, point by point, until the engine is saturated."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.evaluators.speed.asking import Timing
from orchestrator.evaluators.speed.bench import Bench, Watch, failures, other_length
from orchestrator.evaluators.speed.figures import gaps, keeps, percentiles, rates
from orchestrator.evaluators.speed.pressure import Pressed, press_closed, press_open
from orchestrator.spec.speed import By, LoadSpec
from orchestrator.speed import LoadSpeed

PAYS = 0.1
"""More in flight that brings less than this share of what it could bring is too much."""
KEEPS_UP = 0.9
"""An engine that ends fewer requests than this share of those that arrive does not keep up."""
BROKEN = 0.5
"""Share of failures at which a point counts as saturated."""


async def measure_load(bench: Bench, spec: LoadSpec, seed: int) -> list[LoadSpeed]:
    """A row per point, up to the first that is saturated."""
    if not bench.fits(spec.input + spec.output):
        bench.skipped.append(f"load: {spec.input} + {spec.output} tokens do not fit into {bench.limit}")
        return []
    warm = await bench.client.stream(bench.maker.make(spec.input), spec.output)
    if warm.failed:
        bench.skipped.append(f"load: the warm-up failed ({warm.failed})")
        return []
    rows: list[LoadSpeed] = []
    for number, (by, offered) in enumerate(spec.points):
        before = rows[-1] if rows and rows[-1].by == by else None
        rows.append(await _point(bench, spec, by, offered, seed + number, before))
        if rows[-1].saturated and spec.until_saturated:
            bench.skipped.extend(f"load: {by} {later:g}, past saturation" for by, later in spec.points[number + 1 :])
            break
    return rows


async def _point(
    bench: Bench,
    spec: LoadSpec,
    by: By,
    offered: float,
    seed: int,
    before: LoadSpeed | None,
) -> LoadSpeed:
    maker = bench.maker.seeded(seed)

    async def ask() -> Timing:
        timing = await bench.client.stream(maker.make(spec.input), spec.output)
        bench.step()
        return timing

    async with bench.watched() as watch:
        if by == "concurrency":
            pressed = await press_closed(ask, int(offered), spec.seconds)
        else:
            pressed = await press_open(ask, offered, spec.seconds, seed, constant=spec.arrivals == "constant")
    return _figures(spec, by, offered, pressed, before, watch)


def _figures(
    spec: LoadSpec,
    by: By,
    offered: float,
    pressed: Pressed,
    before: LoadSpeed | None,
    watch: Watch,
) -> LoadSpeed:
    answered = [timing for timing in pressed.timings if timing.failed is None]
    counted = [timing for timing in answered if pressed.counts(timing)] or answered
    rate = rates(answered, pressed.window)
    kept = [timing for timing in counted if spec.objective and keeps(timing, spec.objective)]
    good = len(kept) / len(counted) if spec.objective and counted else None
    return LoadSpeed(
        by=by,
        offered=offered,
        seconds=pressed.window.seconds,
        asked=len(pressed.timings),
        failed=len(pressed.timings) - len(answered),
        requests_per_second=rate.requests,
        output_tokens_per_second=rate.output_tokens,
        total_tokens_per_second=rate.total_tokens,
        ttft=percentiles(timing.ttft for timing in counted),
        inter_token=percentiles(gap for timing in counted for gap in gaps(timing)),
        latency=percentiles(timing.latency for timing in counted),
        goodput=good * rate.requests if good is not None else None,
        good=good,
        saturated=_saturated(by, offered, rate.output_tokens, rate.requests, pressed, before),
        memory=watch.memory.peak,
        invalid=[
            *failures(pressed.timings),
            *_short(spec, counted),
            *other_length(spec.input, answered),
            *watch.invalid,
        ],
    )


def _saturated(
    by: str, offered: float, tokens: float, requests: float, pressed: Pressed, before: LoadSpeed | None
) -> bool:
    if pressed.failed_share > BROKEN:
        return True
    if by == "rate":
        return requests < KEEPS_UP * pressed.arrived_per_second
    if before is None or offered <= before.offered or not before.output_tokens_per_second:
        return False
    return tokens / before.output_tokens_per_second - 1 < PAYS * (offered / before.offered - 1)


def _short(spec: LoadSpec, counted: Sequence[Timing]) -> list[str]:
    if not counted:
        return ["no request was answered"]
    mean = sum(timing.generated for timing in counted) / len(counted)
    return [f"only {mean:.1f} of {spec.output} tokens came"] if mean < spec.output else []
