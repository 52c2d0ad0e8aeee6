"""What of the spec's part `opencompass` cannot be done, alone or together with the data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from launchers.engine import Refusal
from orchestrator.evaluators.opencompass.datasets import DatasetConfig, DatasetRefused
from orchestrator.evaluators.opencompass.judge import JudgeRefused, find_judge
from orchestrator.evaluators.opencompass.summarizers import find_summarizer
from orchestrator.spec.opencompass import OpenCompassSpec

_EXAMPLE = "opencompass: {judge: {server: http://host:port, model: NAME}}"


def refused_options(
    options: OpenCompassSpec, base: Path, package: Path | None, found: Sequence[tuple[str, DatasetConfig]]
) -> Iterator[Refusal]:
    """Refusals, with paths relative to one entry of `evaluate`; `found`: (path in it, config) of its data sets."""
    try:
        if options.summarizer:
            find_summarizer(options.summarizer, base, package)
    except DatasetRefused as reason:
        yield Refusal("opencompass.summarizer", reason.message)
    try:
        if options.judge:
            find_judge(options.judge)
    except JudgeRefused as reason:
        yield Refusal("opencompass.judge", reason.message)
    if options.judge and (variable := options.judge.api_key_variable) and variable not in os.environ:
        yield Refusal("opencompass.judge.api_key_variable", f"there is no environment variable {variable} here")
    if judged := [config.name for _, config in found if "judge" in config.needs]:
        yield from _judged(options, judged[0], found)


def _judged(options: OpenCompassSpec, judged: str, found: Sequence[tuple[str, DatasetConfig]]) -> Iterator[Refusal]:
    if not options.judge:
        message = f"is needed: `{judged}` is scored by a judge model; name one, e.g. `{_EXAMPLE}`"
        yield Refusal("opencompass.judge", message)
    for field, config in found:
        if "sandbox" in config.needs:
            message = f"`{config.name}` runs programs without a network, over which `{judged}` asks its judge"
            yield Refusal(field, f"{message}: name them in two entries of `evaluate`")
