"""`bench`: how fast the served model is, by context length, as a batch, under load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from orchestrator.cli.environments import install_all
from orchestrator.cli.jobs import missing_for, run_job, show_plan
from orchestrator.errors import BadSpec, FieldError
from orchestrator.intake import located, located_compress
from orchestrator.settings import Settings
from orchestrator.spec import JobSpec, parse_spec
from orchestrator.spec.checks import check_job
from orchestrator.spec.loading import UniqueKeys

QUIET = 600.0
"""Seconds without an answer after which a generation asks whether the engine lives, unless the spec says otherwise: a
long prefill must not be disturbed by it.
"""


class Part(StrEnum):
    """What can be measured."""

    CONTEXT = "context"
    THROUGHPUT = "throughput"
    LOAD = "load"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    spec: Annotated[Path, typer.Argument(help="Job spec, YAML or JSON; `serve` is enough.", show_default=False)],
    only: Annotated[list[Part] | None, typer.Option(help="Measure only this part; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the prompts. Default: fresh.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; start nothing.")] = False,
    install: Annotated[bool, typer.Option("--install", help="Install missing environments first.")] = False,
) -> None:
    """Serve a model and measure its speed: tables by context length, throughput, load.

    Of `evaluate` only `evaluator: speed` counts; without one the defaults are measured. Exit codes as of `run`.
    """
    settings = Settings.load()
    job, base = read_bench(spec, settings, only or [], seed)
    if install:
        install_all(missing_for(job, settings), settings)
    if dry_run:
        show_plan(job, base, settings, as_json)
    run_job(job, base, settings, as_json)


def read_bench(path: Path, settings: Settings, only: list[Part], seed: int | None) -> tuple[JobSpec, Path]:
    """The job that measures what `path` says, and where its relative paths start.

    Raises: BadSpec with every error.
    """
    document = _document(path)
    measurements = [_measurement(one, only, seed) for one in _speed_parts(document)]
    probe = document.get("probe") or {}
    changed = {**document, "evaluate": measurements, "probe": {"interval": QUIET, **probe}}
    spec, errors = parse_spec(changed, source=str(path))
    base = path.resolve().parent
    compress = located_compress(spec.compress, base) if spec.compress else None
    spec = spec.model_copy(update={"serve": located(spec.serve, base), "compress": compress})
    if found := errors or check_job(spec, base, settings):
        raise BadSpec(found, source=str(path))
    return spec, base


def _document(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=UniqueKeys)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise BadSpec([FieldError("", f"cannot be read: {error}")], source=str(path)) from error
    if not isinstance(document, Mapping):
        raise BadSpec([FieldError("", f"must be a mapping, not {type(document).__name__}")], source=str(path))
    return document


def _speed_parts(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those evaluations of the document that measure speed, or the default one."""
    given = document.get("evaluate") or []
    mappings = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
    return [one for one in mappings if one.get("evaluator") == "speed"] or [{"evaluator": "speed"}]


def _measurement(given: Mapping[str, Any], only: list[Part], seed: int | None) -> Mapping[str, Any]:
    """`given` with the parts and the seed of the command line."""
    speed = dict(given.get("speed") or {})
    if only:
        kept = {name: value for name, value in speed.items() if name not in list(Part)}
        speed = {**kept, **{part.value: speed.get(part.value) or {} for part in only}}
    if seed is not None:
        speed["seed"] = seed
    return {**given, **({"speed": speed} if speed else {})}
