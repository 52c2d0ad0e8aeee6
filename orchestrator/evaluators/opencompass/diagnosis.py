"""Why OpenCompass did not finish: what its log says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import DatasetMissing, EvaluatorFailed, OrchestratorError
from orchestrator.evaluators.opencompass.reading import Broken

_TELLING = re.compile(r" - ERROR - |^\w[\w.]*(Error|Exception|Interrupt)\b|^AssertionError|No valid url for")
_FOLLOWS = "Prediction files not found"  # scoring fails after asking has failed: a consequence, not a cause
_NO_DATA = re.compile(
    r"No valid url for|FileNotFoundError|Couldn't reach|OfflineModeIsEnabled|LocalEntryNotFound|ConnectionError"
    r"|URLError|Couldn't find"
)
_MOST_LINES = 8
_MOST_BYTES = 4 << 20


def failure(broken: Sequence[Broken], log: Path, run: Path) -> OrchestratorError:
    """The error to raise for data sets of a `run` without a whole result."""
    # Scoring in a process of its own has a log of its own.
    lines = [line for file in [log, *sorted(run.glob("logs/eval/**/*.out"))] for line in telling_lines(file)]
    named = "; ".join(f"{dataset.name}: {dataset.reason}" for dataset in broken)
    message = "\n".join([f"OpenCompass left no whole result: {named}", *(f"  {line}" for line in lines)])
    where = f"see {log}"
    asked = any("Calling OpenAI API failed" in line for line in lines)  # so the data was there
    if not asked and any(_NO_DATA.search(line) for line in lines):
        steps = "put it under $COMPASS_DATA_CACHE or ~/.cache/opencompass, or run once online by hand"
        return DatasetMissing(message, hint=f"the data of a data set is not on this machine: {steps}; {where}")
    return EvaluatorFailed(message, hint=where)


def telling_lines(log: Path) -> list[str]:
    """The lines of a log that say what went wrong: the last few, each once."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _MOST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    found = [line.strip()[:400] for line in lines if _TELLING.search(line) and _FOLLOWS not in line]
    return list(dict.fromkeys(found))[-_MOST_LINES:]
