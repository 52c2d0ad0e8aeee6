"""The `probe` part of a job: how it is made sure that the engine generates."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProbeSpec(BaseModel):
    """One real generation before the evaluation, and again whenever the engine has been quiet for long."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    prompt: str = Field("What is AI?", min_length=1)
    """What the engine is asked."""
    max_tokens: int = Field(32, ge=1)
    """Tokens it may answer with."""
    timeout: float = Field(300.0, gt=0)
    """Seconds for one generation, at the start (where engines compile lazily) and during the job."""
    interval: float = Field(30.0, gt=0)
    """Seconds without any answer after which a generation checks that the engine still lives."""
