"""`python -m orchestrator.evaluators.speed FOLDER`: measure what `FOLDER/plan.json` says."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import uvloop

from clients.errors import ClientError
from orchestrator.errors import innermost
from orchestrator.evaluators.speed.measuring import measure
from orchestrator.evaluators.speed.plan import Files, Plan, SpeedFailed, Step, Trouble

EVERY = 0.5
"""Seconds between two notes of the progress, at least."""


def main(folder: Path) -> int:
    """Leave `result.json`, or `trouble.json` and exit code 1."""
    files = Files(folder)
    plan = Plan.model_validate_json(files.plan.read_text())
    told = 0.0

    def tell(step: Step) -> None:
        nonlocal told
        if step.done == step.total or time.monotonic() > told + EVERY:
            told = time.monotonic()
            files.write(files.progress, step)

    try:
        result = uvloop.run(measure(plan, tell))
    except (SpeedFailed, ClientError) as failed:
        files.write(files.trouble, Trouble(message=failed.message, hint=failed.hint))
        return 1
    except BaseExceptionGroup as group:
        files.write(files.trouble, Trouble(message=repr(innermost(group))))
        raise
    files.write(files.result, result)
    files.write(files.progress, Step(done=result.asked, total=result.asked, over=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
