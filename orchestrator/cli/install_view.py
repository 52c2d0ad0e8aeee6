"""Installations as people watch them: a line each that moves on a terminal, few lines elsewhere."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_PACKAGE = re.compile(r"package (\d+) of (\d+): ")
_EVERY = 40
"""Without a terminal, one line for so many packages."""


class InstallView:
    """Shows the steps of several installations side by side."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("install {task.fields[name]:<14}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, name: str, line: str) -> None:
        """One short line of progress; called from the thread that installs `name`."""
        package = _PACKAGE.match(line)
        if self._console.is_terminal:
            self._move(name, line, package)
        elif not line.startswith("downloading") and not (package and int(package[1]) % _EVERY):
            self._console.print(f"[dim]install {name:<14}[/] {escape(line)}")

    def _move(self, name: str, line: str, package: re.Match[str] | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(line, total=None, name=name)
        if package:
            self._bars.update(self._tasks[name], completed=int(package[1]), total=int(package[2]))
        if line.startswith("ready"):
            self._bars.update(self._tasks[name], completed=1, total=1)
            self._bars.stop_task(self._tasks[name])
        self._bars.update(self._tasks[name], description=escape(line[:60]))
