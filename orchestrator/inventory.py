"""Which engines and evaluators there are here: for the command line and the service."""

from __future__ import annotations

from typing import Any

from launchers.engine import Engine
from launchers.environments import Environments
from launchers.registry import engine_names, get_engine
from orchestrator.evaluators.registry import evaluator_names, get_evaluator
from orchestrator.settings import Settings


def described_engines(settings: Settings, gpus: int) -> list[dict[str, Any]]:
    """Every engine by name, on a machine with so many GPUs.

    Seconds on the first call: each installed engine is asked for its flags.
    """
    return [_engine(get_engine(name), settings, gpus) for name in engine_names()]


def described_evaluators(settings: Settings) -> list[dict[str, Any]]:
    """Every evaluator by name."""
    return [_evaluator(name, settings) for name in evaluator_names()]


def _engine(engine: Engine, settings: Settings, gpus: int) -> dict[str, Any]:
    recipe = engine.recipe
    environment = Environments(settings.environments).find(recipe) if recipe else None
    flags = engine.flags(environment)
    state = "built in" if recipe is None else "installed" if environment else "missing"
    hint = f"orchestrator install {engine.name}  ({recipe.size}, {recipe.time})" if recipe else ""
    here = "on GPUs" if gpus else "on the processor" if not engine.needs_gpu else "needs a GPU: cannot be started"
    return {
        "name": engine.name,
        "state": state,
        "version": environment.version if environment else None,
        "here": here,
        "needs_gpu": engine.needs_gpu,
        "honours": sorted(engine.honoured(flags)),
        "refuses": dict(sorted(engine.reasons.items())),
        "flags_of": f"{flags.version} ({flags.source})" if flags else None,
        "next": hint if state == "missing" else "",
    }


def _evaluator(name: str, settings: Settings) -> dict[str, Any]:
    recipe = get_evaluator(name).recipe
    environment = Environments(settings.environments).find(recipe) if recipe else None
    state = "built in" if recipe is None else "installed" if environment else "missing"
    hint = f"orchestrator install {name}  ({recipe.size}, {recipe.time})" if recipe else ""
    return {
        "name": name,
        "state": state,
        "version": environment.version if environment else None,
        "next": hint if state == "missing" else "",
    }
