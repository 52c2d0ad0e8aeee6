"""`compare eval_x.py -a ENGINE -a ENGINE`: one model of an OpenCompass config on several engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.one_click import Asked, taken_over
from orchestrator.cli.one_click_view import tell_notes
from orchestrator.comparing.gathering import Wishes, wished
from orchestrator.comparing.plan import Plan, PlannedJob
from orchestrator.errors import BadSpec, FieldError
from orchestrator.one_click.taking_over import OneClickJob
from orchestrator.settings import Settings
from orchestrator.spec.checks import require_data

Accelerators = Annotated[
    list[str] | None,
    typer.Option("-a", "--accelerator", help="OpenCompass config: the engines, the baseline first; A,B or repeated."),
]


def engines_of(given: list[str] | None) -> list[str]:
    """`-a A -a B` and `-a A,B` alike."""
    return [name.strip() for text in given or [] for name in text.split(",") if name.strip()]


def plan_of_config(things: Sequence[str], asked: Asked, wishes: Wishes, settings: Settings) -> Plan:
    """A variant per engine, named after it; the first is the baseline unless `wishes` say otherwise.

    What is not carried over is told on standard error.
    Raises: BadSpec with every error; EvaluatorMissing, DatasetMissing.
    """
    _check(things, asked)
    config, taken = taken_over(Path(things[0]), asked, settings)
    models = list(dict.fromkeys(job.abbr for job in taken.jobs))
    if len(models) > 1:
        message = f"is needed: one model is compared on several engines, and the config has {', '.join(models)}"
        raise _bad("--only", message)
    base = config.file.parent
    for job in taken.jobs:
        require_data(job.spec, base, settings)
    jobs = {job.spec.serve.engine: PlannedJob(spec=job.spec, base=str(base)) for job in taken.jobs}
    name = f"{models[0]} on {', '.join(jobs)}"[:200]
    plan = wished(Plan(name=name, baseline=asked.engines[0], order=list(jobs), jobs=jobs), wishes, settings)
    _tell(taken.jobs)
    return plan


def _check(things: Sequence[str], asked: Asked) -> None:
    if len(things) > 1:
        raise _bad("", "an OpenCompass config is compared alone, on the engines of -a")
    if twice := [name for name, times in Counter(asked.engines).items() if times > 1]:
        raise _bad("-a", f"{', '.join(twice)} is named twice")
    if len(asked.engines) == 1:
        raise _bad("-a", "a comparison needs at least two engines, the baseline first: `-a transformers,vllm`")


def _tell(jobs: Sequence[OneClickJob]) -> None:
    """Notes of all engines once, those of some with their names."""
    engines: dict[str, list[str]] = {}
    for job in jobs:
        for note in job.spec.notes:
            engines.setdefault(note, []).append(job.spec.serve.engine)
    for note, named in engines.items():
        tell_notes([note if len(named) == len(jobs) else f"{', '.join(named)}: {note}"])


def _bad(path: str, message: str) -> BadSpec:
    return BadSpec([FieldError(path, message)], source="the command line")
