"""What only the evaluator `lm_eval` understands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LmEvalSpec(BaseModel):
    """How lm-evaluation-harness asks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Examples before each question. Default: what the task says; a task that says 0 keeps it."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """How generations are asked for: `chat` lets the engine apply the model's chat template, `completions` sends plain
    text, for base models. `auto`: chat. Tasks scored by log-likelihoods are always asked over completions."""
    include_path: str | None = None
    """Folder of task files whose names `datasets` may use; they win over lm-eval's own of the same name."""
