"""The whole measurement, from the first look at the engine to the result."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from clients.honesty import Honesty
from orchestrator.evaluators.speed.asking import Client
from orchestrator.evaluators.speed.bench import Bench, limited
from orchestrator.evaluators.speed.calibration import calibrate
from orchestrator.evaluators.speed.context import measure_context
from orchestrator.evaluators.speed.load import measure_load
from orchestrator.evaluators.speed.memory import serving_processes, shared_gpus
from orchestrator.evaluators.speed.plan import Plan, SpeedFailed, Step
from orchestrator.evaluators.speed.prompts import PromptMaker
from orchestrator.evaluators.speed.served import gateway_gauges, listed_len, wait_served
from orchestrator.evaluators.speed.throughput import measure_throughput
from orchestrator.speed import ContextSpeed, LoadSpeed, SpeedResult, ThroughputSpeed


async def measure(plan: Plan, tell: Callable[[Step], None]) -> SpeedResult:
    """Wait until the engine is ready, get to know it, measure.

    Raises: SpeedFailed when nothing can be measured.
    """
    gateway = plan.base_url.removesuffix("/v1")
    served = await wait_served(gateway)
    serving = serving_processes(served.replicas)
    shared = shared_gpus(serving)
    if shared and plan.spec.shared_gpu == "refuse":
        raise SpeedFailed(f"others use the GPU: {'; '.join(shared)}", hint="end them, or set `shared_gpu: mark`")
    seed = plan.spec.seed if plan.spec.seed is not None else secrets.randbits(31)
    machine_load = os.getloadavg()[0]
    known = await calibrate(served.replicas[0], plan.model, PromptMaker.of(plan.tokenizer, seed))
    limit = plan.max_model_len or await listed_len(served.replicas[0]) or plan.config_len
    parts = urlsplit(gateway)
    bench = Bench(
        Client(parts.hostname or "127.0.0.1", parts.port or 80, plan.model, known.fields),
        known.maker,
        serving,
        limit,
        _Steps(plan, tell).step,
        notes=[*known.notes, *_held_back(plan, served.limit)],
    )
    honesty = Honesty()
    async with honesty.watching():
        context, throughput, load = await _parts(bench, plan, seed)
    bench.client.close()
    gauges = await gateway_gauges(gateway)
    late = [limited("the gateway", gauges)] if gauges["client_limited"] else []
    came = [other for other in shared_gpus(serving) if other not in shared]
    reasons = [*shared, *came, *late]
    return SpeedResult(
        seed=seed,
        tokenizer=plan.tokenizer,
        full_length=known.full_length,
        max_model_len=limit,
        context=[row.model_copy(update={"invalid": [*row.invalid, *reasons]}) for row in context],
        throughput=[row.model_copy(update={"invalid": [*row.invalid, *reasons]}) for row in throughput],
        load=[row.model_copy(update={"invalid": [*row.invalid, *reasons]}) for row in load],
        skipped=bench.skipped,
        notes=bench.notes,
        asked=bench.asked,
        failed=bench.failed,
        client=honesty.snapshot(),
        machine_load=round(machine_load, 2),
    )


async def _parts(
    bench: Bench, plan: Plan, seed: int
) -> tuple[list[ContextSpeed], list[ThroughputSpeed], list[LoadSpeed]]:
    spec = plan.spec
    context = await measure_context(bench, spec.context) if spec.context else []
    throughput = []
    if spec.throughput:
        own = spec.throughput.seed
        throughput = await measure_throughput(bench, spec.throughput, seed if own is None else own)
    load = await measure_load(bench, spec.load, seed) if spec.load else []
    if not (context or throughput or load):
        hint = "name lengths that fit, or raise `serve.max_model_len`"
        raise SpeedFailed(f"nothing could be measured: {'; '.join(bench.skipped)}", hint=hint)
    return context, throughput, load


def _held_back(plan: Plan, limit: int | None) -> list[str]:
    return [f"the gateway lets {limit} requests through at once"] if limit is not None and plan.spec.load else []


class _Steps:
    """Counts the requests that were measured."""

    def __init__(self, plan: Plan, tell: Callable[[Step], None]) -> None:
        spec = plan.spec
        context = len(spec.context.lengths) * spec.context.repeats if spec.context else 0
        known = context + (spec.throughput.prompts if spec.throughput else 0)
        self._total = None if spec.load else known
        self._done = 0
        self._tell = tell

    def step(self) -> None:
        self._done += 1
        self._tell(Step(done=self._done, total=self._total))
