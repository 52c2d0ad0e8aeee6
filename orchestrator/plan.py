"""What a job would do, with nothing started: `--dry-run`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from launchers.compress.spec import CompressSpec
from launchers.environments import Environments
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation, allocate
from orchestrator.compressing import plan as plan_compression
from orchestrator.errors import EvaluatorMissing
from orchestrator.evaluators.base import Target
from orchestrator.evaluators.registry import environment_of, get_evaluator, missing_hint
from orchestrator.leases import Leases
from orchestrator.settings import Settings
from orchestrator.spec.models import EvaluateSpec, JobSpec

MOST_WORKERS = 512
"""Requests that an evaluator has under way at most when it need not know the engine's limit."""


def plan_serve(spec: ServeSpec, settings: Settings, compress: CompressSpec | None = None) -> dict[str, Any]:
    """Commands, variables, ports and GPUs of the servers; leased for a moment and given back.

    Raises: EngineMissing, GpuUnavailable, PortInUse, ForeignServer, CompressorMissing.
    """
    made, served = _plan_compression(spec, compress, settings)
    with Leases(settings, "dry-run") as leases:
        return {**allocate(served, leases, settings.jobs / "JOB").describe(), **made}


def plan_job(spec: JobSpec, base: Path, settings: Settings) -> dict[str, Any]:
    """As `plan_serve`, with the command and the config of every evaluator.

    Raises: as `plan_serve`, and EvaluatorMissing.
    """
    made, served = _plan_compression(spec.serve, spec.compress, settings)
    with Leases(settings, "dry-run") as leases:
        allocation = allocate(served, leases, settings.jobs / "JOB")
        evaluators = [_plan_evaluator(evaluate, spec, base, allocation, settings) for evaluate in spec.evaluate]
        return {**allocation.describe(), **made, "evaluators": evaluators}


def target_of(evaluate: EvaluateSpec, serve: ServeSpec, allocation: Allocation, url: str) -> Target:
    """What an evaluator talks to: the gateway at `url` (without `/v1`), and how hard."""
    # With `auto` the gateway finds how many the engine is given at once: enough must wait there for it to choose from.
    suits = (serve.max_concurrency or allocation.engine.concurrency) * serve.replicas
    concurrency = min(4 * suits, MOST_WORKERS) if evaluate.concurrency == "auto" else evaluate.concurrency
    folder = Path(serve.model).expanduser() if serve.model else None
    return Target(
        f"{url}/v1",
        serve.served_name,
        concurrency,
        model_folder=folder if folder and folder.is_dir() else None,
        max_model_len=serve.max_model_len,
    )


def _plan_compression(
    serve: ServeSpec, compress: CompressSpec | None, settings: Settings
) -> tuple[dict[str, Any], ServeSpec]:
    if compress is None:
        return {}, serve
    made, served = plan_compression(compress, serve, settings)
    return {"compress": made}, served


def _plan_evaluator(
    evaluate: EvaluateSpec, spec: JobSpec, base: Path, allocation: Allocation, settings: Settings
) -> dict[str, Any]:
    evaluator = get_evaluator(evaluate.evaluator)
    environment = environment_of(evaluator, Environments(settings.environments))
    if environment is None:
        raise EvaluatorMissing(
            f"evaluator `{evaluate.evaluator}` is not installed here",
            hint=missing_hint(evaluator),
        )
    target = target_of(evaluate, spec.serve, allocation, f"http://127.0.0.1:{allocation.gateway_port}")
    with tempfile.TemporaryDirectory(prefix="orchestrator-plan-") as scratch:
        folder = Path(scratch)
        command = evaluator.prepare(evaluate, base, environment, target, folder)
        config = {str(path.relative_to(folder)): path.read_text() for path in _texts(folder)}
    return {
        "evaluator": evaluate.evaluator,
        "argv": list(command.argv),
        "env": dict(command.env),
        "concurrency": target.concurrency,
        "files": config,
    }


def _texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 65536)
