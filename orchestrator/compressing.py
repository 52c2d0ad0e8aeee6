"""The model that is really served: the one that the spec names, or what is made of it first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launchers.compress.cache import ModelCache, Produced
from launchers.compress.compression import PHASE, Compression, Leased, compress, plan_compression
from launchers.compress.registry import get_tool
from launchers.compress.spec import CompressSpec
from launchers.compress.tool import Workshop
from launchers.environments import Environments
from launchers.gpus import discover
from launchers.spec import ServeSpec
from orchestrator.errors import JobTimeout
from orchestrator.leases import Leases
from orchestrator.settings import Settings

Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Told of every step: (phase, message, data)."""

AWQ = "lmdeploy_auto_awq"


def workshop_of(settings: Settings) -> Workshop:
    """What this machine has for compressing."""
    inventory = discover(settings.gpus)
    return Workshop(
        Environments(settings.environments), len(inventory.gpus), inventory.reason or "", settings.llama_cpp
    )


def plan(spec: CompressSpec, serve: ServeSpec, settings: Settings) -> tuple[dict[str, Any], ServeSpec]:
    """What would be made, or is there already, and the `serve` part with it. Starts nothing.

    Raises: CompressorMissing, CompressFailed.
    """
    work, cache = _work(spec, serve, settings)
    made = cache.find(work.key)
    gpus = get_tool(spec.tool).gpus_needed(spec, workshop_of(settings).gpus)
    described = {**work.describe(made, cached=made is not None), "gpus": gpus}
    return described, served(serve, spec, made.produced if made else work.model)


async def make(
    spec: CompressSpec, serve: ServeSpec, settings: Settings, *, owner: str, log: Path, tell: Tell
) -> tuple[dict[str, Any], ServeSpec]:
    """Make what the spec asks for, or find it made; what it is, and the `serve` part with it.

    Processes carry the mark `OWNER/compress`. GPUs are leased for the tool alone, and only if it has to run.
    Raises: CompressorMissing, CompressFailed, StartFailed, GpuUnavailable, JobTimeout.
    """
    work, cache = await asyncio.to_thread(_work, spec, serve, settings)
    made, cached = await asyncio.to_thread(cache.find, work.key), True
    if made is None:
        try:
            async with asyncio.timeout(spec.timeout):
                made, cached = await _make(work, cache, settings, serve.gpus, owner=owner, log=log, tell=tell)
        except TimeoutError:
            message = f"the compression did not end within {spec.timeout:g} s"
            raise JobTimeout(message, hint="raise `compress.timeout`") from None
    how = "made before" if cached else f"made in {made.seconds:.1f} s"
    tell(PHASE, f"{made.produced}: {how}, {made.bytes_before} bytes before, {made.bytes_after} after", {})
    return work.describe(made, cached=cached), served(serve, spec, made.produced)


def served(serve: ServeSpec, spec: CompressSpec, model: str) -> ServeSpec:
    """The `serve` part with another model under the same name."""
    changes: dict[str, object] = {"model": model, "served_model_name": serve.served_name}
    if spec.tool == AWQ and serve.quantization is None:
        changes["quantization"] = "awq"  # LMDeploy must be told the format
    return serve.model_copy(update=changes)


def expected(serve: ServeSpec, spec: CompressSpec, settings: Settings) -> ServeSpec:
    """As `served`, for checks that come before anything is known of the result but its place and name."""
    source = Path(str(serve.model))
    return served(serve, spec, str(settings.models / source.name / get_tool(spec.tool).produced(spec, source)))


def source_of(serve: ServeSpec) -> Path | None:
    """The folder of the model to compress; None when it is not on this machine."""
    folder = Path(serve.model).expanduser() if serve.model else None
    return folder if folder and folder.is_dir() else None


async def _make(
    work: Compression,
    cache: ModelCache,
    settings: Settings,
    gpus: list[int] | None,
    *,
    owner: str,
    log: Path,
    tell: Tell,
) -> tuple[Produced, bool]:
    needed = get_tool(work.spec.tool).gpus_needed(work.spec, workshop_of(settings).gpus)
    with Leases(settings, f"{owner}/compress") as leases:
        # Where the job's own are known they do: any others may be promised to another job.
        own = gpus[:needed] if gpus and len(gpus) >= needed else None
        leased = Leased(leases.gpus(needed, own), tuple(leases.descriptors))
        return await compress(work, cache, leased=leased, log=log, mark=f"{owner}/compress", tell=tell)


def _work(spec: CompressSpec, serve: ServeSpec, settings: Settings) -> tuple[Compression, ModelCache]:
    cache = ModelCache(settings.models)
    source = Path(str(serve.model)).expanduser()
    return plan_compression(spec, source, cache, workshop_of(settings)), cache
