"""The result model that every evaluator fills: honest scores, sample by sample."""

from __future__ import annotations

from statistics import NormalDist

from pydantic import BaseModel, ConfigDict

from orchestrator.speed import SpeedResult


class Sample(BaseModel):
    """One question of a data set and what became of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    index: int
    prompt: str
    """What the model was asked; chat turns are joined as `ROLE: text` lines."""
    output: str | None
    """The model's answer; None when the request failed."""
    gold: str | None
    """The reference answer as the data set holds it."""
    prediction: str | None
    """What the evaluator extracted from the output."""
    correct: bool | None
    """Whether the evaluator counts it right; None when it failed or the metric is not per sample."""
    value: float | None = None
    """What the metric gives it, in the unit of the score, where that is a number and not right or wrong."""
    cut: bool = False
    """Whether the engine ended the output at `max_tokens`, as far as it can be told."""
    failed: str | None = None
    """Why there is no answer (`http_500`, `empty_answer`, ...); None when there is one."""


class DatasetResult(BaseModel):
    """The score of one data set over the samples that the engine answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: str
    dataset: str
    metric: str
    """The evaluator's name of the score, e.g. `accuracy`."""
    score: float | None
    """In percent for rates, over the answered samples only; None when no honest number can be given."""
    interval: tuple[float, float] | None
    """95% interval of the score (Wilson), in percent; None when the metric is not a share of right answers."""
    asked: int
    """Samples that the data set holds, after `limit`."""
    answered: int
    """Samples that the engine answered."""
    failed: int
    """Samples whose request failed or came back empty: never scored."""
    coverage: float
    """answered / asked, 0 to 1."""
    failed_by_cause: dict[str, int] = {}
    """Why samples have no answer -> how many; empty for a group, whose data sets tell."""
    prompt_version: str | None = None
    """Fingerprint of the prompt template: two scores compare only when it is equal."""
    notes: list[str] = []
    """What a reader must know about this score."""


class Evaluation(BaseModel):
    """All that one evaluator found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: list[DatasetResult]
    samples: list[Sample]
    speed: SpeedResult | None = None
    """What evaluator `speed` measured."""


def wilson_interval(right: int, total: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Wilson score interval of `right` out of `total`, in percent; None when `total` is 0."""
    if total == 0:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return 100 * (middle - half), 100 * (middle + half)
