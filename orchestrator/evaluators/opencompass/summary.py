"""Groups of data sets (`mmlu`, ...) as a summarizer of OpenCompass sums them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.evaluators.opencompass.reading import config_of, summary_of
from orchestrator.results import DatasetResult


def groups_of(run: Path, results: list[DatasetResult]) -> list[DatasetResult]:
    """One result per group in the summary table; without a score as soon as one sample of the group has failed.

    OpenCompass sums up its own scores, in which failed samples count as wrong answers.
    """
    groups = _groups(config_of(run))
    rows = [row for row in summary_of(run) if row["dataset"] in groups]
    members = {name: _members(name, groups, frozenset()) for name in groups}
    return [_group(row, [one for one in results if one.dataset in members[row["dataset"]]]) for row in rows]


def _groups(config: dict[str, Any]) -> dict[str, set[str]]:
    """Data sets and other groups of each group, by its name."""
    summarizer = config.get("summarizer")
    groups = summarizer.get("summary_groups") if isinstance(summarizer, dict) else None
    return {
        group["name"]: {subset if isinstance(subset, str) else subset[0] for subset in group.get("subsets", [])}
        for group in groups or []
    }


def _members(name: str, groups: dict[str, set[str]], above: frozenset[str]) -> set[str]:
    """Data sets of a group, those of the groups within it too."""
    if name not in groups or name in above:
        return {name}
    return {member for part in groups[name] for member in _members(part, groups, above | {name})}


def _group(row: dict[str, str], members: list[DatasetResult]) -> DatasetResult:
    asked, answered = sum(one.asked for one in members), sum(one.answered for one in members)
    value = list(row.values())[-1]
    failed = asked - answered
    notes = [f"the summarizer's sum of {len(members)} data sets"]
    if failed:
        notes.append(f"no number: OpenCompass counts the {failed} failed samples as wrong; its own is {value}")
    return DatasetResult(
        evaluator="opencompass",
        dataset=row["dataset"],
        metric=row["metric"],
        score=None if failed or value == "-" else float(value),
        interval=None,
        asked=asked,
        answered=answered,
        failed=failed,
        coverage=answered / asked if asked else 0.0,
        notes=notes,
    )
