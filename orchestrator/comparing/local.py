"""Jobs of a comparison in this process, without a service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.comparing.plan import PlannedJob
from orchestrator.history import View
from orchestrator.intake import new_job
from orchestrator.record import JobRecord
from orchestrator.runner import Runner
from orchestrator.settings import Settings


class LocalJobs:
    """Runs each job with a runner of its own; GPUs and ports are leased as always."""

    def __init__(self, settings: Settings, view: Callable[[str], View], labels: dict[str, str]) -> None:
        """`view` makes who watches the job of a variant; `labels` are added to every job's."""
        self._settings = settings
        self._view = view
        self._labels = labels
        self._runners: list[Runner] = []
        self._interrupted = ""

    async def run(self, variant: str, job: PlannedJob) -> JobRecord:
        """See `Jobs`."""
        spec = job.spec.model_copy(update={"labels": {**job.spec.labels, **self._labels}})
        folder, record = new_job(spec, self._settings, resume=job.resume)
        runner = Runner(folder, record, spec, Path(job.base), self._settings, self._view(variant))
        self._runners.append(runner)
        if self._interrupted:
            runner.interrupt(self._interrupted)
        return await runner.run()

    def interrupt(self, why: str) -> None:
        """End every job that runs, and every one that would follow, as `cancelled`."""
        self._interrupted = why
        for runner in self._runners:
            if not runner.history.record.state.terminal:
                runner.interrupt(why)
