"""What one comparison consists of: jobs to run, jobs that are over, and what they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.comparing.gate import Gate
from orchestrator.comparing.model import Mode
from orchestrator.comparing.spec import ComparisonSpec, jobs_of
from orchestrator.spec.models import EvaluateSpec, JobSpec

MAY_DIFFER = frozenset({"concurrency", "min_coverage", "timeout"})
"""Of an evaluation: what changes no question and no answer."""


class PlannedJob(BaseModel):
    """One job that is to be run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: JobSpec
    base: str
    """Folder that its relative paths start from."""
    resume: str | None = None
    """Earlier job whose answers are reused."""


class Plan(BaseModel):
    """A comparison before it is run, as its folder keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    baseline: str
    gate: Gate | None = None
    mode: Mode = "in_turn"
    order: list[str]
    """Every variant, as the tables show them."""
    jobs: dict[str, PlannedJob] = {}
    """What is to be run."""
    finished: dict[str, str] = {}
    """Folders of jobs that are over."""


def plan_of(spec: ComparisonSpec, base: Path) -> Plan:
    """The plan of a comparison spec: every variant is a job to run."""
    jobs = {name: PlannedJob(spec=job, base=str(base)) for name, job in jobs_of(spec).items()}
    return Plan(name=spec.name, baseline=spec.against, gate=spec.gate, mode=spec.mode, order=list(jobs), jobs=jobs)


def asked(evaluate: Iterable[EvaluateSpec] | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an evaluation asks, to hold one against another."""
    specs = [EvaluateSpec.model_validate(one) for one in evaluate]
    return [one.model_dump(mode="json", exclude=set(MAY_DIFFER)) for one in specs]


def differing(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[str]:
    """Paths in which two of `asked` differ, e.g. `evaluate.0.limit`."""
    if len(first) != len(second):
        return ["evaluate"]
    return [
        f"evaluate.{index}.{field}"
        for index, (one, other) in enumerate(zip(first, second, strict=True))
        for field in one
        if one[field] != other[field]
    ]
