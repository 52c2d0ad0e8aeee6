"""Why lm-eval did not finish: what its log says."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.errors import DatasetMissing, EvaluatorFailed, OrchestratorError

_TELLING = re.compile(r"\bERROR\b|^\w[\w.]*(Error|Exception|Interrupt)\b|API request failed")
_NO_DATA = re.compile(r"FileNotFound|OfflineModeIsEnabled|LocalEntryNotFound|Couldn't (reach|find)|ConnectionError")
_NO_SCORES = re.compile(r"'logprobs'|'token_logprobs'|'top_logprobs'|'NoneType' object is not subscriptable")
_NO_PACKAGE = re.compile(r"No module named '([\w.]+)'")
_MOST_LINES = 6
_MOST_BYTES = 4 << 20


def failure(reason: str, log: Path) -> OrchestratorError:
    """The error to raise for a run without whole results."""
    lines = telling_lines(log)
    message = "\n".join([reason, *(f"  {line}" for line in lines)])
    last = lines[-1] if lines else ""
    asked = any("Exception:" in line or "API request failed" in line for line in lines)  # so the data was there
    if not asked and _NO_DATA.search(last):
        return DatasetMissing(message, hint=f"the data of a task is not here, and nothing is fetched; see {log}")
    if found := _NO_PACKAGE.search(last):
        needs = f"a task needs the package `{found[1].split('.')[0]}`, which lm-eval does not install by itself"
        return EvaluatorFailed(message, hint=f"{needs}; use an environment of yours that has it: `install --python`")
    if any(_NO_SCORES.search(line) for line in lines):
        hint = "the engine gave no log-probabilities of the prompt: use one that scores prompts, such as vllm"
        return EvaluatorFailed(message, hint=f"{hint}; see {log}")
    return EvaluatorFailed(message, hint=f"see {log}")


def telling_lines(log: Path) -> list[str]:
    """The lines of a log that say what went wrong: the last few, each once."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _MOST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    found = [line.strip()[:400] for line in lines if _TELLING.search(line)]
    return list(dict.fromkeys(found))[-_MOST_LINES:]
