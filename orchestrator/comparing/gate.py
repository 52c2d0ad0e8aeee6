"""The gate: may the variant take the baseline's place? GO, NO-GO, or too early to say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["GO", "NO-GO", "INCONCLUSIVE"]


class Gate(BaseModel):
    """The policy that a variant is held against, on every data set."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    max_drop: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Points by which its accuracy may be below the baseline's."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the samples that both must have answered."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of the intervals that decide, two-sided."""

    def no_go_confidence(self, datasets: int) -> float:
        """A single NO-GO stops the variant, so with many data sets each needs better proof (Bonferroni)."""
        return 1 - (1 - self.confidence) / max(1, datasets)


def decide(gate: Gate, interval: tuple[float, float], surer: tuple[float, float]) -> Verdict:
    """The verdict on one data set; intervals of the difference in points, `surer` at `no_go_confidence`.

    GO: a drop beyond `max_drop` is ruled out. NO-GO: it is proved.
    """
    if interval[0] >= -gate.max_drop:
        return "GO"
    return "NO-GO" if surer[1] < -gate.max_drop else "INCONCLUSIVE"


def overall(verdicts: list[Verdict]) -> Verdict:
    """GO when all are; NO-GO as soon as one is. No correction is needed for GO: every single one has to hold."""
    if "NO-GO" in verdicts:
        return "NO-GO"
    return "GO" if verdicts and set(verdicts) == {"GO"} else "INCONCLUSIVE"
