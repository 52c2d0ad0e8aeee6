"""What a reader must know about a score beyond how it was computed: known traps, what judged, how programs were run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.evaluators.opencompass.needs import RUNS_CODE
from orchestrator.evaluators.opencompass.reading import DatasetFiles
from orchestrator.results import Sample
from orchestrator.spec.opencompass import OpenCompassSpec


def notes_of(files: DatasetFiles, samples: Sequence[Sample], options: OpenCompassSpec, work: Path) -> list[str]:
    """Notes on one data set; `work` was the current folder of the run."""
    notes = [*_cascade(files.cascade, samples), *_unverified(files)]
    if files.scorer in RUNS_CODE:
        notes += [_sandbox(work / "sandbox.json"), *_line_breaks(samples, stripped=options.strip_prompts)]
    return notes


def _cascade(stats: Mapping[str, Any], samples: Sequence[Sample]) -> Iterator[str]:
    """Two scorers in one: how much of the score is each one's."""
    if not stats:
        return
    right, asked = stats.get("rule_correct", 0), stats.get("llm_evaluated", 0)
    yield f"a rule found {right} of {len(samples)} answers right; the judge was asked about {asked}"
    if not asked and right < len(samples):
        yield "WARNING: another metric than expected: the rule's alone; the judge of what it found wrong was not asked"


def _unverified(files: DatasetFiles) -> Iterator[str]:
    """Answers that `math_verify` did not get to compare; OpenCompass counts them as wrong without a word."""
    if files.scorer != "MATHVerifyEvaluator":
        return
    if passed_over := max(0, len(files.predictions) - files.told):
        yield f"WARNING: {passed_over} right answers of the data set cannot be read by math_verify: all count as wrong"
    stuck = sum(not (detail.prediction or "").startswith("[") for detail in files.details)
    if stuck:
        yield f"{stuck} answers could not be verified (an error, or more than 10 s) and count as wrong"


def _sandbox(report: Path) -> str:
    try:
        held: dict[str, Any] = json.loads(report.read_bytes())
    except (OSError, ValueError):
        return "the model's programs were run, and nothing says within which limits"
    network = "with the network of this machine" if held["network"] else "without a network"
    most = f"{held['processes']} processes" if held["processes"] else "any number of processes (as root)"
    memory, size = held["memory_bytes"] >> 30, held["file_bytes"] >> 30
    return f"the model's programs ran {network}, within {memory} GiB of memory each, {size} GiB per file, {most}"


def _line_breaks(samples: Sequence[Sample], *, stripped: bool) -> Iterator[str]:
    ending = sum(sample.prompt.endswith("\n") for sample in samples)
    if ending and not stripped:
        yield (
            f"{ending} of {len(samples)} prompts end in a line break, after which Llama models complete code badly: "
            "`opencompass: {strip_prompts: true}` does not send it"
        )
