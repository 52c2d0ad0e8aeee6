"""`python -m orchestrator.attempt FOLDER ATTEMPT`: the process that runs one attempt of a job of the service.

`--spare` instead waits, with everything imported, until its standard input says `FOLDER<tab>ATTEMPT`; it ends when
that is closed. SIGINT cancels the job; SIGTERM ends the attempt alone, and the service tries the job again.

Exit codes: 0 when the attempt ended in a terminal state, 3 when it is not (any more) its to run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from pathlib import Path

import uvloop

from orchestrator.assignment import BASE, TAKEN, Assignment, read_assignment
from orchestrator.deployment import DeploymentFolder
from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord
from orchestrator.reporter import Reporter, Stale
from orchestrator.runner import Runner
from orchestrator.settings import Settings
from orchestrator.spec.models import JobSpec

NOT_OURS = 3
LOCK_PATIENCE = 10.0
"""Seconds that an earlier attempt may take to let the folder go."""


def main(argv: list[str]) -> int:
    """Run the attempt that the command line, or standard input, names."""
    words = sys.stdin.readline().rstrip("\n").split("\t") if argv == ["--spare"] else argv
    if len(words) != 2:
        return NOT_OURS
    folder, attempt = JobFolder(Path(words[0])), int(words[1])
    try:
        with folder.holding(patience=LOCK_PATIENCE):
            return _run_owned(folder, attempt)
    except BlockingIOError:
        return NOT_OURS


def _run_owned(folder: JobFolder, attempt: int) -> int:
    try:
        assignment = read_assignment(folder)
    except FileNotFoundError:  # given up while this process began
        return NOT_OURS
    if assignment.attempt != attempt or folder.read().state.terminal:
        return NOT_OURS
    folder.mend()
    if attempt > 1:
        folder.archive(attempt - 1)
    _speak_into(folder.log("process"))
    return uvloop.run(_attempt(folder, assignment, Settings.load()))


async def _attempt(folder: JobFolder, assignment: Assignment, settings: Settings) -> int:
    spec = _placed(JobSpec.model_validate_json(folder.spec.read_bytes()), assignment)
    record = _begin(folder.read(), assignment)
    reporter = Reporter(folder, assignment, settings.root, lambda: record)
    deployment = DeploymentFolder(assignment.deployment) if assignment.deployment else None
    runner = Runner(folder, record, spec, BASE, settings, reporter, deployment, waits_for=TAKEN)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, reporter.cancelled.set)
    for number in (signal.SIGTERM, signal.SIGHUP):  # the machine goes down: the job is to be tried again after it
        loop.add_signal_handler(number, runner.abandon, number.name)
    helpers = [
        asyncio.create_task(_listen(reporter, runner)),
        asyncio.create_task(reporter.beat()),
        asyncio.create_task(_obey(reporter, runner)),
    ]
    try:
        await runner.run_held()
    finally:
        for helper in helpers:
            helper.cancel()
        ended = await asyncio.gather(*helpers, return_exceptions=True)
        for error in ended:  # none of them may end the job, each may tell why it stopped
            if isinstance(error, Exception):
                traceback.print_exception(error)
    if runner.history.detached:
        return NOT_OURS
    await reporter.finish()
    return 0


async def _listen(reporter: Reporter, runner: Runner) -> None:
    try:
        await reporter.run()
    except Stale:
        runner.abandon("a later attempt")


async def _obey(reporter: Reporter, runner: Runner) -> None:
    await reporter.cancelled.wait()
    runner.interrupt("request")


def _placed(spec: JobSpec, assignment: Assignment) -> JobSpec:
    """The spec with the leased GPUs; a deployment has its own."""
    if assignment.deployment or not assignment.gpus:
        return spec
    return spec.model_copy(update={"serve": spec.serve.model_copy(update={"gpus": list(assignment.gpus)})})


def _begin(earlier: JobRecord, assignment: Assignment) -> JobRecord:
    """A new record for the attempt: nothing of an earlier one is true of it."""
    kept = {"id", "name", "spec", "labels", "notes", "created_at", "resumed_from", "folder"}
    return JobRecord.model_validate({**earlier.model_dump(include=kept), "attempt": assignment.attempt})


def _speak_into(log: Path) -> None:
    """From here on what this process prints is the job's, and nothing is read."""
    log.parent.mkdir(exist_ok=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
