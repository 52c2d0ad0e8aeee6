"""A comparison as people watch it and read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.comparing.model import Comparison
from orchestrator.comparing.report import HEAD, notes, reasons, rows
from orchestrator.comparing.speed_tables import METHODS_OF_SPEEDS, speed_notes, speed_tables
from orchestrator.record import Event, Progress

STYLES = {"GO": "green", "NO-GO": "bold red", "INCONCLUSIVE": "yellow", "lower": "red", "higher": "green"}

WIDE_ENOUGH = 180
"""Columns of a terminal that holds the whole table; below, scores and speeds are two."""
SCORES = (0, 1, 2, 7, 8, 9, 10)
SPEEDS = (0, 3, 4, 5, 6)


def summary(comparison: Comparison, folder: Path, width: int) -> Group:
    """The table, the gate's reasons, what must be read with it, where things are; `width` in columns."""
    outcome = comparison.verdict or comparison.state
    title = Text.assemble(f"\n{comparison.name}: ", (outcome, STYLES.get(outcome, "bold")))
    shown = [_table(range(len(HEAD)), rows(comparison))]
    if width < WIDE_ENOUGH:
        timed = [row for row in rows(comparison) if row[0]]
        shown = [_table(SCORES, rows(comparison)), _table(SPEEDS, timed)]
    told = [Text(f"- {line}") for line in [*reasons(comparison), *notes(comparison)]]
    report = Text(f"report   {folder / 'comparison.html'}\n         {folder / 'comparison.md'}")
    return Group(title, *shown, *told, *_speeds(comparison), report)


def _table(columns: Sequence[int], lines: Sequence[tuple[str, ...]]) -> Table:
    """These columns of `HEAD`."""
    table = Table(box=box.SIMPLE_HEAVY)
    for index in columns:
        table.add_column(
            escape(HEAD[index]), justify="left" if index < 2 else "right", no_wrap=index != 1, overflow="fold"
        )
    for line in lines:
        table.add_row(*(Text(line[index], style=STYLES.get(line[index], "")) for index in columns))
    return table


def _speeds(comparison: Comparison) -> Iterator[Table | Text]:
    for title, head, lines in speed_tables(comparison):
        table = Table(box=box.SIMPLE_HEAVY, title=title, title_justify="left")
        for column in head:
            table.add_column(column, justify="left" if column == "variant" else "right")
        for line in lines:
            table.add_row(*(Text(cell, style="red" if "(invalid)" in cell else "") for cell in line))
        yield table
    for remark in speed_notes(comparison):
        yield Text(f"- {remark}", style="bold red" if "INVALID" in remark else "dim")
    if any(variant.measured for variant in comparison.variants):
        yield Text(METHODS_OF_SPEEDS, style="dim")


class Lines:
    """One line per step of one variant's job."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name

    def event(self, event: Event) -> None:
        """Transitions, and what failed; the steps between are in the job's folder."""
        if event.type == "state" or event.code:
            code = f" [red]{event.code}[/]" if event.code else ""
            first = event.message.splitlines()[0] if event.message else ""
            phase = f"[bold cyan]{event.phase:<12}[/]{code}"
            self._console.print(f"[dim]{event.time[11:19]}[/] {escape(self._name):<16} {phase} {escape(first[:160])}")

    def progress(self, progress: Progress) -> None:
        """Nothing: `orchestrator top` and the table tell."""
