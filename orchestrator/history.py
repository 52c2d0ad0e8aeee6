"""The history of one job as it is made: every step goes to the job's folder first, then to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from orchestrator.job_folder import JobFolder
from orchestrator.record import Event, Failure, JobRecord, Progress, State, now


class View(Protocol):
    """Somebody who watches a job: the terminal, or nobody."""

    def event(self, event: Event) -> None:
        """A transition or a note."""

    def progress(self, progress: Progress) -> None:
        """How far the evaluation is."""


class NoView:
    """Nobody watches."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""


class History:
    """Keeps the record, its events and the time of each phase."""

    def __init__(self, folder: JobFolder, record: JobRecord, view: View) -> None:
        self.record = record
        self._folder = folder
        self._view = view
        self._seq = folder.last_seq()
        self.detached = False
        """Whether the job is another's by now."""
        self._entered = time.monotonic()
        self._phase = record.state.value

    def enter(self, state: State, message: str, *, code: str | None = None) -> None:
        """Go to another state; the time spent in the one before is added to its phase."""
        if self.record.state.terminal:
            raise RuntimeError(f"job {self.record.id} is {self.record.state}: a terminal state never changes")
        self._leave()
        self.record.state = state
        self._phase = state.value
        if state.terminal:
            self.record.finished_at = now()
        self._event("state", state.value, message, code, {})
        self._write()

    def phase(self, name: str, message: str) -> None:
        """A part of the current state that has a time of its own, until the next phase or state."""
        self._leave()
        self._phase = name
        self.note(name, message)

    def note(self, phase: str, message: str, data: Mapping[str, Any] | None = None) -> None:
        """A step within the current state."""
        self._event("note", phase, message, None, dict(data or {}))
        self._write()

    def fail(self, failure: Failure) -> None:
        """Keep why the job does not succeed; the first reason stays."""
        if self.record.failure is None:
            self.record.failure = failure
            self._event("note", self.record.state.value, failure.message, failure.code, {})

    def progress(self, progress: Progress) -> None:
        """Keep how far the evaluation is."""
        if progress != self.record.progress:
            self.record.progress = progress
            self._write()
        self._view.progress(progress)

    def save(self) -> None:
        """Write the record as it is now."""
        self._write()

    def detach(self) -> None:
        """The job is another's from now on: nothing more of it is written here, and nobody is told more."""
        self.detached = True

    def _write(self) -> None:
        if not self.detached:
            self._folder.write(self.record)

    def _leave(self) -> None:
        moment = time.monotonic()
        if self.record.state is not State.QUEUED:
            spent = self.record.times.get(self._phase, 0.0) + moment - self._entered
            self.record.times = {**self.record.times, self._phase: round(spent, 3)}
        self._entered = moment

    def _event(self, kind: str, phase: str, message: str, code: str | None, data: dict[str, Any]) -> None:
        if self.detached:
            return
        self._seq += 1
        event = Event(
            seq=self._seq,
            time=now(),
            attempt=self.record.attempt,
            type=kind,
            state=self.record.state,
            phase=phase,
            message=message,
            code=code,
            data=data,
        )
        self._folder.append_event(event.model_dump_json())
        self._view.event(event)
