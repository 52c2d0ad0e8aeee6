"""What a comparison found: pure data, as `comparison.json` holds it and `GET /comparisons/{id}` shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from clients.fidelity.report import Fidelity
from orchestrator.comparing.gate import Gate, Verdict
from orchestrator.record import Failure
from orchestrator.results import DatasetResult
from orchestrator.speed import SpeedResult

ComparisonState = Literal["running", "succeeded", "incomplete", "cancelled"]
Mode = Literal["in_turn", "side_by_side"]
Test = Literal["exact McNemar", "sign flips"]
_PLAIN = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Difference(BaseModel):
    """One data set of a variant against the same of the baseline. Differences are variant less baseline."""

    model_config = _PLAIN

    evaluator: str
    dataset: str
    metric: str
    asked: int
    """Samples of the data set."""
    pairs: int
    """Samples with the same prompt that both answered: what the test is made of."""
    unanswered: int
    """Left out: at least one of the two gave no answer."""
    prompts_differ: int
    """Left out: another prompt at the same place."""
    alone: int
    """Left out: asked of one only."""
    lost: int | None = None
    """Pairs that the baseline had right and the variant wrong; None unless each question is right or wrong once."""
    won: int | None = None
    """The reverse."""
    difference: float | None = None
    """In points (or the unit of the metric), over the pairs; of the two scores where there is no test."""
    interval: tuple[float, float] | None = None
    """Of the difference, in points, at the gate's confidence (95% without one)."""
    test: Test | None = None
    """What `p` comes from."""
    p: float | None = None
    """Two-sided, of this data set alone."""
    p_adjusted: float | None = None
    """Holm's, over every test of the comparison."""
    equal_outputs: int = 0
    """Pairs whose raw outputs are equal to the last character."""
    samples_to_decide: int | None = None
    """Pairs that would settle it with a chance of 80%, if the rates seen are the true ones; None: settled already, or
    no number would."""
    verdict: Verdict | None = None
    """Of the gate; None without one."""
    notes: list[str] = []
    """What a reader must know."""


class Flip(BaseModel):
    """A question that one of the two has right and the other wrong."""

    model_config = _PLAIN

    variant: str
    dataset: str
    index: int
    change: Literal["lost", "won"]
    """`lost`: the baseline was right, the variant is wrong."""
    prompt: str
    gold: str | None
    baseline_output: str | None
    variant_output: str | None
    baseline_prediction: str | None
    variant_prediction: str | None


class Speed(BaseModel):
    """How long a run took, in seconds; speed-ups are the baseline's time by this one."""

    model_config = _PLAIN

    inference: float | None = None
    """In which an engine had at least one request, as the gateway saw it: no start, no pauses of evaluators."""
    total: float = 0.0
    """All phases of the job: start, probe, evaluation, scoring, teardown."""
    answers: int = 0
    replayed: int = 0
    """Of these, answers from an earlier job's journal: with any there are no speed-ups."""
    completion_tokens: int = 0
    """That the engine wrote, where it tells."""
    speed_up: float | None = None
    """By `inference`."""
    total_speed_up: float | None = None
    """By `total`."""
    notes: list[str] = []
    """Why these figures are not the engine's speed."""


class SpeedRatio(BaseModel):
    """What evaluator `speed` measured, against the baseline's of the same work."""

    model_config = _PLAIN

    measurement: int
    """Which of the job's evaluations with `speed`: 0, 1, ..."""
    part: Literal["context", "throughput", "load"]
    at: str
    """`context 6144`, `25 prompts at once`, `concurrency 4`."""
    ratio: float
    """Generated tokens per second, the variant's by the baseline's."""
    invalid: list[str] = []
    """Why it is not that of the two engines; empty: it is."""


class VariantResult(BaseModel):
    """One served model and how it stands against the baseline."""

    model_config = _PLAIN

    name: str
    engine: str = ""
    model: str = ""
    job: str | None = None
    """Id of its job; None while it has none."""
    folder: str | None = None
    state: str = "queued"
    """Of its job."""
    failure: Failure | None = None
    results: list[DatasetResult] = []
    speed: Speed = Speed()
    """How long its job took."""
    measured: list[SpeedResult] = []
    """What each evaluator `speed` found."""
    speed_ratios: list[SpeedRatio] = []
    """Of that, each figure against the baseline's."""
    differences: list[Difference] = []
    """None for the baseline."""
    fidelity: Fidelity | None = None
    notes: list[str] = []
    """What a reader must know before comparing."""
    verdict: Verdict | None = None
    """Over its data sets; None for the baseline and without a gate."""
    reasons: list[str] = []
    """Of the verdict."""


class Comparison(BaseModel):
    """One evaluation over several served models."""

    model_config = _PLAIN

    id: str
    name: str
    state: ComparisonState = "running"
    """`incomplete`: a job did not succeed, or a data set has no counterpart."""
    created_at: str
    finished_at: str | None = None
    mode: Mode = "in_turn"
    baseline: str
    gate: Gate | None = None
    verdict: Verdict | None = None
    """Of the gate over all variants; None without one, and while jobs run."""
    variants: list[VariantResult]
    """The baseline among them, in the order of the spec."""
