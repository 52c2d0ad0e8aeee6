"""One evaluator at work on one job: started early, followed, read back, its failures joined with the gateway's."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from clients.ledger import Ledger
from launchers.process import ProcessTree
from launchers.scrub import scrubbed
from launchers.server import tail_of
from orchestrator.errors import EvaluatorFailed, JobTimeout
from orchestrator.evaluators.base import Command, Done, Evaluator
from orchestrator.record import Progress
from orchestrator.results import DatasetResult, Evaluation, Sample
from orchestrator.spec.models import EvaluateSpec

POLL = 0.25
"""Seconds between two looks at the evaluator's files."""


class EvaluatorRun:
    """A running evaluator: its process tree, its folder, its log."""

    def __init__(
        self, evaluator: Evaluator, spec: EvaluateSpec, command: Command, folder: Path, log: Path, mark: str
    ) -> None:
        self.evaluator = evaluator
        self.spec = spec
        self.command = command
        self.folder = folder
        self.log = log
        self._mark = mark
        self._tree: ProcessTree | None = None

    async def start(self) -> None:
        """Start the evaluator; its first requests wait in the gateway until a replica is ready."""
        env = scrubbed(os.environ, self.command.env)
        self._tree = await ProcessTree.start(
            self.command.argv, env=env, cwd=self.command.cwd, log=self.log, mark=self._mark
        )

    async def follow(
        self, ledger: Ledger, tell: Callable[[Progress], None], inference_over: Callable[[], None]
    ) -> Evaluation:
        """Wait until the evaluator ends and read what it left.

        `inference_over` is called once, as soon as no request will follow; scoring may go on for long after.

        Raises: EvaluatorFailed, JobTimeout.
        """
        if self._tree is None:
            raise RuntimeError("start() comes first")
        before = ledger.failed
        told = False
        ended = asyncio.create_task(self._tree.wait())
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.spec.timeout):
                while not ended.done():
                    await asyncio.wait({ended}, timeout=POLL)
                    files = self.evaluator.progress(self.folder)
                    tell(_progress(files, time.monotonic() - began, ledger.failed - before))
                    if files.over and ledger.in_flight == 0 and not told:
                        told = True
                        inference_over()
            if (lost := ended.exception()) is not None:
                raise EvaluatorFailed(f"{self.evaluator.name} lost its supervisor: {lost}")
        except TimeoutError:
            raise JobTimeout(
                f"{self.evaluator.name} did not end within {self.spec.timeout:g} s",
                hint="raise `evaluate.timeout`, or lower `limit`",
            ) from None
        finally:
            ended.cancel()
        return join_failures(await asyncio.to_thread(self.evaluator.collect, self.folder, self.log), ledger)

    async def stop(self, grace: float = 1.0) -> None:
        """End the evaluator's whole tree, `grace` seconds after SIGTERM; nothing when it was never started."""
        if self._tree:
            await self._tree.stop(grace)

    def shell(self) -> str:
        """The command as one line for a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.command.env.items())]
        return f"cd {shlex.quote(str(self.command.cwd))} && env {' '.join(variables)} {shlex.join(self.command.argv)}"

    def tail(self) -> str:
        """The last lines of its log."""
        return tail_of(self.log)


def join_failures(evaluation: Evaluation, ledger: Ledger) -> Evaluation:
    """Replace the id of each failed request by what the gateway saw happen to it, and count these causes."""
    samples = [_with_cause(sample, ledger) for sample in evaluation.samples]
    causes: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.failed is not None:
            causes[sample.dataset][sample.failed] += 1
    results = [_with_causes(result, causes[result.dataset]) for result in evaluation.datasets]
    return evaluation.model_copy(update={"samples": samples, "datasets": results})


def _with_cause(sample: Sample, ledger: Ledger) -> Sample:
    if sample.failed is None:
        return sample
    return sample.model_copy(update={"failed": ledger.cause_of(sample.failed) or sample.failed})


def _with_causes(result: DatasetResult, causes: Counter[str]) -> DatasetResult:
    if not causes:
        return result
    note = f"not answered: {', '.join(f'{cause} {count}' for cause, count in causes.most_common())}"
    return result.model_copy(update={"failed_by_cause": dict(causes), "notes": [*result.notes, note]})


def _progress(files: Done, seconds: float, failed: int) -> Progress:
    rate = files.done / seconds if files.done and seconds > 0 else None
    eta = (files.total - files.done) / rate if rate and files.total is not None else None
    return Progress(
        done=files.done,
        total=files.total,
        failed=failed,
        rate=round(rate, 2) if rate else None,
        eta=round(eta, 1) if eta is not None else None,
    )
