"""A job as people watch it: one line per step, and a bar while samples are answered."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from orchestrator.record import Event, Progress, State


class LiveView:
    """Prints to a console; the bar only where the console is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._shown = 0.0

    def __enter__(self) -> LiveView:
        self._bar.start()
        self._task = self._bar.add_task("queued", total=None, figures="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def event(self, event: Event) -> None:
        """One line per event."""
        elapsed = time.monotonic() - self._began
        code = f" [red]{event.code}[/]" if event.code else ""
        style = "bold cyan" if event.type == "state" else "dim"
        first = event.message.splitlines()[0] if event.message else ""
        self._console.print(f"[dim]{elapsed:7.1f}s[/] [{style}]{event.phase:<12}[/]{code} {escape(first[:200])}")
        if self._task is not None and event.type == "state":
            done = 1 if event.state.terminal else 0
            self._bar.update(self._task, description=event.state.value, total=done or None, figures="")

    def progress(self, progress: Progress) -> None:
        """Move the bar; without a terminal, a line every 10 seconds."""
        total = "?" if progress.total is None else progress.total
        eta = "" if progress.eta is None else f", {progress.eta:.0f} s left"
        rate = "" if progress.rate is None else f", {progress.rate:.1f}/s"
        failed = f", {progress.failed} failed" if progress.failed else ""
        figures = f"{progress.done}/{total}{failed}{rate}{eta}"
        if self._task is not None:
            self._bar.update(self._task, completed=progress.done, total=progress.total, figures=figures)
        if not self._console.is_terminal and progress.done and time.monotonic() - self._shown > 10:
            self._shown = time.monotonic()
            self._console.print(f"{self._shown - self._began:7.1f}s {State.EVALUATING.value:<12} {figures}")
