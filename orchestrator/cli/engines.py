"""`engines`: what each engine is, whether it is here, what it can do here, how to get the rest."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from launchers.gpus import discover
from orchestrator.cli.output import print_json, stdout
from orchestrator.inventory import described_engines
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
    found = described_engines(settings, gpus)
    if as_json:
        print_json(found)
        return
    table = Table("engine", "state", "version", "here", "also honours", "next")
    for row in found:
        fields = ", ".join(row["honours"])
        table.add_row(row["name"], row["state"], row["version"] or "-", row["here"], fields, escape(row["next"]))
    stdout().print(table)
