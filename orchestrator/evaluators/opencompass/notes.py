"""What a reader must know about a score beyond how it was computed: traps that are known, and how programs were run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.evaluators.opencompass.needs import RUNS_CODE
from orchestrator.evaluators.opencompass.reading import DatasetFiles
from orchestrator.results import Sample
from orchestrator.spec.opencompass import OpenCompassSpec


def notes_of(files: DatasetFiles, samples: Sequence[Sample], options: OpenCompassSpec, work: Path) -> list[str]:
    """Notes on one data set; `work` was the current folder of the run."""
    if files.scorer not in RUNS_CODE:
        return []
    return [_sandbox(work / "sandbox.json"), *_line_breaks(samples, stripped=options.strip_prompts)]


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
