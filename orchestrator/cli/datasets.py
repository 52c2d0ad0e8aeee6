"""`datasets`: what can be evaluated here, how it is asked and scored, and which data it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from launchers.environments import Environments
from orchestrator.cli.output import print_json, stderr, stdout
from orchestrator.errors import BadSpec, EvaluatorMissing, FieldError
from orchestrator.evaluators.opencompass import OpenCompassEvaluator
from orchestrator.evaluators.opencompass.catalogue import (
    Config,
    catalogue_file,
    fitting,
    load_catalogue,
    meant,
    rows_in,
)
from orchestrator.evaluators.opencompass.datasets import package_of, stands_for
from orchestrator.evaluators.opencompass.missing import Data
from orchestrator.evaluators.opencompass.needs import cannot_run, missing_packages, needs_of
from orchestrator.evaluators.opencompass.source import read_source
from orchestrator.evaluators.opencompass.suffixes import explained
from orchestrator.settings import Settings

_SHOWN = 3
"""Names of data sets of one config in the table."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(datasets)


def datasets(
    pattern: Annotated[str, typer.Argument(help="A part of a name, a pattern (`mmlu_*_gen`) or a data set.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Only those whose data is on this machine.")] = False,
) -> None:
    """List the data set configs of the installed OpenCompass, and ours."""
    settings = Settings.load()
    environment = Environments(settings.environments).find(OpenCompassEvaluator.recipe)
    package = package_of(environment) if environment else None
    if environment is None or package is None:
        raise EvaluatorMissing("OpenCompass is not installed here", hint="orchestrator install opencompass")
    if not catalogue_file(environment, settings.root / "cache").is_file():
        stderr().print("[dim]reading all data set configs: half a minute, once for this environment[/]")
    catalogue = load_catalogue(environment, settings.root / "cache")
    # Files that only hold prompts or settings for others are no data sets.
    listed = [config for config in catalogue if config.datasets or config.error]
    found = fitting(pattern, listed) if pattern else listed
    if not found:
        near = ", ".join(f"`{name}`" for name in meant(pattern, catalogue)) or "none"
        raise BadSpec([FieldError("", f"no data set fits `{pattern}`; nearest: {near}")], source="the command line")
    rows = [row for row in (_described(config, package) for config in found) if row["data"] == "here" or not here]
    if as_json:
        print_json(rows)
    elif len(rows) == 1:
        _print_one(rows[0])
    else:
        _print_all(rows)


def _described(config: Config, package: Path) -> dict[str, Any]:
    data = config.data(package)
    states = {one.state for one in data}
    types = [*config.inferencers, *dict.fromkeys(scorer for one in config.datasets for scorer in one.scorers)]
    return {
        "name": config.stem,
        "config": config.name,
        "stands_for": _stands_for(config, package),
        "datasets": [one.abbr for one in config.datasets],
        "asked_by": config.inferencers,
        "scored_by": config.evaluators,
        "needs": sorted(needs_of(types)),
        "refused": [config.error] if config.error else _refused(types, package),
        "data": "absent" if "absent" in states else "here" if states == {"here"} else "unknown",
        "rows": _rows(config, data),
        "get": [one.steps for one in data if one.state == "absent"],
        "suffix": [{"part": part, "meaning": meaning} for part, meaning in explained(config.stem)],
        "file": str(config.file),
    }


def _stands_for(config: Config, package: Path) -> str | None:
    """Read only for short names, which alone stand for others."""
    if any(part["meaning"].startswith("hash") for part in _parts(config)) or config.error:
        return None
    try:
        other = stands_for(read_source(config.file, package))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    return other.stem if other else None


def _parts(config: Config) -> list[dict[str, str]]:
    return [{"part": part, "meaning": meaning} for part, meaning in explained(config.stem)]


def _refused(types: list[str], package: Path) -> list[str]:
    missing = missing_packages(types, package)
    return [*cannot_run(types), *([f"its scoring needs {', '.join(missing)}"] if missing else [])]


def _rows(config: Config, data: list[Data]) -> int | None:
    """Rows over all data sets; None when one is not known."""
    places = {one.path: one for one in data}
    counted = [rows_in(places[one.path], one) if one.path in places else None for one in config.datasets]
    known = [rows for rows in counted if rows is not None]
    return sum(known) if known and len(known) == len(counted) else None


def _print_all(rows: list[dict[str, Any]]) -> None:
    table = Table("name", "data sets", "asked by", "scored by", "data", "rows", "to know")
    for row in rows:
        sets = row["datasets"]
        shown = ", ".join(sets[:_SHOWN]) + (f", ... ({len(sets)})" if len(sets) > _SHOWN else "")
        names = (row["name"], shown, _kinds(row["asked_by"]), ", ".join(row["scored_by"][:2]), row["data"])
        table.add_row(*map(escape, names), str(row["rows"] or ""), escape(_to_know(row)))
    stdout().print(table)
    here = sum(row["data"] == "here" for row in rows)
    stdout().print(f"{len(rows)} configs; the data of {here} is here. More on one: orchestrator datasets NAME")


def _to_know(row: dict[str, Any]) -> str:
    if row["refused"]:
        return f"cannot run: {row['refused'][0]}"
    said = {"scores": "needs an engine that scores texts", "judge": "needs a judge", "sandbox": "runs programs"}
    stands = [f"is {row['stands_for']}"] if row["stands_for"] else []
    return "; ".join([*stands, *(said[need] for need in row["needs"])])


def _kinds(inferencers: list[str]) -> str:
    said = {"GenInferencer": "generation", "PPLInferencer": "perplexity", "LLInferencer": "likelihood"}
    return ", ".join(said.get(name, name.removesuffix("Inferencer").lower()) for name in inferencers)


def _print_one(row: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    lines = {
        "config": f"{row['config']}  ({row['file']})",
        "stands for": row["stands_for"] or "",
        "its name says": "\n".join(f"{one['part'] or '-'}: {one['meaning']}" for one in row["suffix"]),
        "data sets": ", ".join(row["datasets"]),
        "asked by": _kinds(row["asked_by"]),
        "scored by": ", ".join(row["scored_by"]),
        "data": row["data"] + (f", {row['rows']} rows" if row["rows"] else ""),
        "get the data": "\n".join(row["get"]),
        "to know": _to_know(row),
    }
    for name, said in lines.items():
        if said:
            table.add_row(f"[bold]{name}[/]", escape(said))
    stdout().print(table)
