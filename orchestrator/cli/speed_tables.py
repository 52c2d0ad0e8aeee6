"""Speed results in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.speed import SpeedResult
from orchestrator.speed_report import speed_remarks, speed_tables


def speed_parts(results: Sequence[SpeedResult]) -> Iterator[Table | Text]:
    """The tables of every result, and what must be known of them."""
    for result in results:
        for title, head, rows in speed_tables(result):
            table = Table(box=box.SIMPLE_HEAVY, title=title, title_justify="left")
            for column in head:
                table.add_column(column, justify="right", no_wrap=True)
            for row in rows:
                table.add_row(*map(Text, row))
            yield table
        for remark in speed_remarks(result):
            yield Text(f"  {remark}", style="bold red" if remark.startswith("INVALID") else "dim")
