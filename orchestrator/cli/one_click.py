"""What `run`, `submit` and `compare` are given beside an OpenCompass config (`eval_x.py -a ENGINE`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from launchers.registry import engine_names
from orchestrator.errors import BadSpec, FieldError
from orchestrator.one_click.overrides import overrides
from orchestrator.one_click.reading import WholeConfig, read_config
from orchestrator.one_click.taking_over import TakenOver, Wishes, take_over
from orchestrator.settings import Settings

Accelerator = Annotated[
    str | None, typer.Option("-a", "--accelerator", help="OpenCompass config: the engine for its models.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="OpenCompass config: first N samples of each set.")]
Only = Annotated[
    list[str] | None, typer.Option(metavar="MODEL", help="OpenCompass config: this model of it; repeatable.")
]
Allow = Annotated[
    list[str] | None, typer.Option(help="OpenCompass config: leave this key out though answers change; repeatable.")
]
Serve = Annotated[
    list[str] | None,
    typer.Option(metavar="[ENGINE.]KEY=VALUE", help="OpenCompass config: a field of `serve`; repeatable."),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """The part of the command line that is about configs."""

    engines: Sequence[str]
    limit: int | None
    only: Sequence[str]
    allow: Sequence[str]
    serve: Sequence[str]


def asked_of(
    engines: Sequence[str], limit: int | None, only: list[str] | None, allow: list[str] | None, serve: list[str] | None
) -> Asked:
    """What was given; nothing where an option was not."""
    return Asked(engines, limit, only or [], allow or [], serve or [])


def is_config(path: str | Path) -> bool:
    """Whether a command's argument is an OpenCompass config and no spec."""
    return Path(path).suffix == ".py"


def refuse_for_specs(asked: Asked, command: str) -> None:
    """Raises: BadSpec when options that are for OpenCompass configs come with a job spec."""
    given = {
        "-a": asked.engines,
        "--limit": asked.limit,
        "--only": asked.only,
        "--allow": asked.allow,
        "--serve": asked.serve,
    }
    errors = [
        FieldError(name, f"is for OpenCompass configs (`{command} eval_x.py -a ENGINE`); a job spec says it itself")
        for name, value in given.items()
        if value
    ]
    if errors:
        raise BadSpec(errors, source="the command line")


def taken_over(file: Path, asked: Asked, settings: Settings) -> tuple[WholeConfig, TakenOver]:
    """The config and the jobs that it becomes.

    Raises: BadSpec, of the command line first, then of the config with every error; EvaluatorMissing.
    """
    check_engines(asked.engines)
    serve = overrides(asked.serve, asked.engines)
    config = read_config(file, settings)
    wishes = Wishes(asked.engines, asked.limit, asked.only, frozenset(asked.allow), serve)
    return config, take_over(config, wishes, settings)


def check_engines(engines: Sequence[str]) -> None:
    """Raises: BadSpec without an engine, or for one that there is not."""
    names = ", ".join(engine_names())
    if not engines:
        wrong = f"is needed for an OpenCompass config: the engine to run its models on, one of {names}"
        raise BadSpec([FieldError("-a", wrong)], source="the command line")
    if unknown := [engine for engine in engines if engine not in engine_names()]:
        errors = [FieldError("-a", f"no engine `{engine}`; there are {names}") for engine in unknown]
        raise BadSpec(errors, source="the command line")
