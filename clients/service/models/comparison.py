"""Comparisons, as the service shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from clients.service.models.base import Document
from clients.service.models.job import DatasetResult, Failure

Verdict = Literal["GO", "NO-GO", "INCONCLUSIVE"]


class Difference(Document):
    """What one variant lost or won against the baseline on one data set, sample by sample."""

    evaluator: str
    dataset: str
    metric: str
    asked: int
    pairs: int
    unanswered: int
    prompts_differ: int
    alone: int
    lost: int | None = None
    won: int | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    test: Literal["exact McNemar", "sign flips"] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    equal_outputs: int = 0
    samples_to_decide: int | None = None
    verdict: Verdict | None = None
    notes: list[str] = Field(default_factory=list)


class Gate(Document):
    """The policy that gives a verdict."""

    max_drop: float = 1.0
    min_coverage: float = 0.99
    confidence: float = 0.95


class SpeedRatio(Document):
    """What evaluator `speed` measured of one variant, against the baseline's of the same work."""

    measurement: int
    part: Literal["context", "throughput", "load"]
    at: str
    ratio: float
    invalid: list[str] = Field(default_factory=list)
    """Why it is not that of the two engines; empty: it is."""


class Variant(Document):
    """One served model of a comparison."""

    name: str
    engine: str = ""
    model: str = ""
    job: str | None = None
    folder: str | None = None
    state: str = "queued"
    failure: Failure | None = None
    results: list[DatasetResult] = Field(default_factory=list)
    speed: dict[str, Any] = Field(default_factory=dict)
    measured: list[dict[str, Any]] = Field(default_factory=list)
    speed_ratios: list[SpeedRatio] = Field(default_factory=list)
    differences: list[Difference] = Field(default_factory=list)
    fidelity: dict[str, Any] | None = None
    notes: list[str] = Field(default_factory=list)
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list)


class Comparison(Document):
    """One evaluation over several served models."""

    id: str
    name: str
    state: Literal["running", "succeeded", "incomplete", "cancelled"] = "running"
    created_at: str
    finished_at: str | None = None
    mode: Literal["in_turn", "side_by_side"] = "in_turn"
    baseline: str
    gate: Gate | None = None
    verdict: Verdict | None = None
    variants: list[Variant]
    jobs: dict[str, str]
    created_by: str | None = None
    cancel_requested: bool
    version: int
