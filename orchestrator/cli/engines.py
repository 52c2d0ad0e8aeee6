"""`engines`: what each engine is, whether it is here, what it can do here, how to get the rest."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from launchers.engine import Engine
from launchers.environments import Environments
from launchers.gpus import discover
from launchers.registry import engine_names, get_engine
from orchestrator.cli.output import print_json, stdout
from orchestrator.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(engines)


def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """List the engines: installed or not, version, what runs here, which fields of `serve` each honours."""
    settings = Settings.load()
    gpus = len(discover(settings.gpus).gpus)
    found = [_described(get_engine(name), settings, gpus) for name in engine_names()]
    if as_json:
        print_json(found)
        return
    table = Table("engine", "state", "version", "here", "also honours", "next")
    for row in found:
        fields = ", ".join(row["honours"])
        table.add_row(row["name"], row["state"], row["version"] or "-", row["here"], fields, escape(row["next"]))
    stdout().print(table)


def _described(engine: Engine, settings: Settings, gpus: int) -> dict[str, Any]:
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
