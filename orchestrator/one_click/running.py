"""Jobs of one config, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrator.history import View
from orchestrator.intake import new_job
from orchestrator.one_click.taking_over import OneClickJob
from orchestrator.record import JobRecord
from orchestrator.runner import Runner
from orchestrator.settings import Settings

Watch = Callable[[JobRecord], AbstractContextManager[View]]
"""Makes who watches a job, given its record."""


class InTurn:
    """The jobs of one config. `run` once; `interrupt` from a signal handler at any time."""

    def __init__(self, jobs: Sequence[OneClickJob], base: Path, settings: Settings) -> None:
        """`base`: where relative paths of the specs start."""
        self._jobs = jobs
        self._base = base
        self._settings = settings
        self._runner: Runner | None = None
        self._interrupted = ""

    async def run(self, watch: Watch, ended: Callable[[JobRecord], None], resume: str | None = None) -> list[JobRecord]:
        """The records in their order; `ended` is called with each. After an interruption no other job starts."""
        records: list[JobRecord] = []
        for job in self._jobs:
            folder, record = new_job(job.spec, self._settings, resume=resume)
            with watch(record) as view:
                self._runner = Runner(folder, record, job.spec, self._base, self._settings, view)
                if self._interrupted:
                    self._runner.interrupt(self._interrupted)
                records.append(await self._runner.run())
            ended(records[-1])
            if self._interrupted:
                break
        return records

    def interrupt(self, why: str) -> None:
        """End the job that runs as `cancelled`; no other one starts."""
        self._interrupted = why
        if self._runner:
            self._runner.interrupt(why)
