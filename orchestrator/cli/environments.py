"""`install`, `doctor`, `fake-engine`: what is here, what is missing, how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from launchers.compress.registry import own_recipes
from launchers.environments import Environments, Recipe
from launchers.errors import SpecRefused
from launchers.gpus import discover
from launchers.registry import engine_names, get_engine
from orchestrator.cli.install_view import InstallView
from orchestrator.cli.output import print_json, stderr, stdout
from orchestrator.evaluators.registry import evaluator_names, get_evaluator
from orchestrator.fake_engine import command as fake
from orchestrator.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(install)
    app.command()(doctor)
    passthrough = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("fake-engine", context_settings=passthrough)(fake_engine)


def install(
    names: Annotated[list[str], typer.Argument(help="Engines or evaluators.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be installed.")] = False,
    python: Annotated[
        Path | None,
        typer.Option(help="Install nothing: use the environment of this interpreter, which has the engine."),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Another version than the pinned one, which `pinned` brings back.", show_default=False),
    ] = None,
) -> None:
    """Install engines or evaluators, each into an isolated environment; what is there already is reused."""
    settings = Settings.load()
    recipes = [_recipe(name) for name in names]
    if version:
        recipes = [Environments(settings.environments).choose(recipe, version) for recipe in recipes]
    if dry_run:
        for recipe in recipes:
            stdout().print(_would_install(recipe, settings), highlight=False)
        return
    if python:
        for recipe in recipes:
            adopted = Environments(settings.environments).adopt(recipe, python)
            stdout().print(f"{recipe.name} {adopted.version or ''} is used from {adopted.python}", highlight=False)
        return
    install_all(recipes, settings)


def doctor(as_json: AsJson = False) -> None:
    """What this machine has, what is installed, what is missing and how to get it."""
    settings = Settings.load()
    found = _findings(settings)
    if as_json:
        print_json(found)
        return
    console = stdout()
    gpus = found["gpus"]
    listed = ", ".join(f"{gpu['index']}: {gpu['name']}" for gpu in gpus["list"]) or "none"
    console.print(f"python    {found['python']}  ({found['cores']} cores)", highlight=False)
    reason = f"  [dim]{escape(gpus['reason'])}[/]" if gpus["reason"] else ""
    console.print(f"gpus      {listed}{reason}", highlight=False)
    console.print(f"home      {found['home']}  ({found['disk_free_gb']} GB free)", highlight=False)
    console.print(f"ports     {found['ports'][0]} to {found['ports'][1]}", highlight=False)
    table = Table("name", "kind", "state", "version", "next")
    for row in found["installed"]:
        table.add_row(row["name"], row["kind"], row["state"], row["version"] or "-", row["next"])
    console.print(table)


def fake_engine(context: typer.Context) -> None:
    """A server that speaks the engines' protocol, with faults on demand; try the tool without a model."""
    raise SystemExit(fake.main(context.args))


def install_all(recipes: Sequence[Recipe], settings: Settings) -> None:
    """Install what is missing, side by side: downloads and unpacking overlap."""
    if not recipes:
        return
    environments, logs = Environments(settings.environments), settings.root / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    def one(recipe: Recipe) -> None:
        log = logs / f"install-{recipe.name}.log"
        if environments.find(recipe) is None:
            view.step(recipe.name, f"{recipe.size}, {recipe.time}; log: {log}")
            if recipe.note:
                view.step(recipe.name, recipe.note)
        built = environments.install(recipe, report=lambda line: view.step(recipe.name, line), log=log)
        if recipe.name in engine_names():
            view.step(recipe.name, "asking it which flags it knows")
            get_engine(recipe.name).flags(built)
        view.step(recipe.name, f"ready: {built.folder}")

    with InstallView(stderr()) as view, ThreadPoolExecutor(len(recipes)) as pool:
        for outcome in [pool.submit(one, recipe) for recipe in recipes]:
            outcome.result()


def _would_install(recipe: Recipe, settings: Settings) -> str:
    if Environments(settings.environments).find(recipe) is not None:
        return f"{recipe.name} is installed ({recipe.requirements or 'an environment of your own'})"
    what = "would be installed" if recipe.requirements else "cannot be installed by itself"
    told = "; ".join(filter(None, (f"{recipe.size}, {recipe.time}", recipe.note, recipe.by_hand)))
    return f"{recipe.name} {what}: {told} ({recipe.requirements or 'by hand'})"


def _recipe(name: str) -> Recipe:
    recipes = _recipes()
    if name in recipes:
        return recipes[name]
    raise SpecRefused(
        f"there is nothing to install for `{name}`", hint=f"can be installed: {', '.join(sorted(recipes))}"
    )


def _recipes() -> dict[str, Recipe]:
    engines = [get_engine(name).recipe for name in engine_names()]
    evaluators = [get_evaluator(name).recipe for name in evaluator_names()]
    return {recipe.name: recipe for recipe in (*engines, *evaluators, *own_recipes()) if recipe}


def _findings(settings: Settings) -> dict[str, Any]:
    inventory = discover(settings.gpus)
    free = shutil.disk_usage(settings.root if settings.root.exists() else settings.root.parent).free
    kinds = {
        **dict.fromkeys(engine_names(), "engine"),
        **dict.fromkeys(evaluator_names(), "evaluator"),
        **dict.fromkeys((recipe.name for recipe in own_recipes()), "compression"),
    }
    return {
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "home": str(settings.root),
        "disk_free_gb": round(free / 1e9, 1),
        "ports": [settings.first_port, settings.last_port],
        "gpus": {
            "source": inventory.source,
            "driver": inventory.driver,
            "reason": inventory.reason,
            "list": [{"index": gpu.index, "name": gpu.name, "uuid": gpu.uuid} for gpu in inventory.gpus],
        },
        "installed": [_state(name, kind, settings) for name, kind in kinds.items()],
    }


def _state(name: str, kind: str, settings: Settings) -> dict[str, Any]:
    recipe = _recipes().get(name)
    row: dict[str, Any] = {"name": name, "kind": kind, "version": None, "folder": None, "next": ""}
    if recipe is None:
        return {**row, "state": "built in"}
    found = Environments(settings.environments).find(recipe)
    if found is None:
        hint = f"orchestrator install {name}  ({'; '.join(filter(None, (recipe.size, recipe.time, recipe.note)))})"
        return {**row, "state": "missing", "next": hint}
    return {**row, "state": "installed", "version": found.version, "folder": str(found.folder)}
