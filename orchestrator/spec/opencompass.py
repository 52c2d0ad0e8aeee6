"""What only the evaluator `opencompass` understands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class JudgeSpec(BaseModel):
    """A second model that judges the answers, for data sets that are scored by one."""

    model_config = _STRICT

    server: Annotated[str, Field(min_length=1)]
    """Base URL of an OpenAI-compatible server, or the name of a deployment (`orchestrator up --name`)."""
    model: str | None = None
    """Name of the judge's model. Default: the deployment's; required with a URL."""
    api_key_variable: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the key for the server. Default: none is sent."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """Longest judgement in tokens."""


class OpenCompassSpec(BaseModel):
    """How OpenCompass asks and sums up."""

    model_config = _STRICT

    summarizer: str | None = None
    """Name or path of a summarizer config; its groups (`mmlu`, ...) are reported beside the data sets."""
    prompts: Literal["chat", "text"] = "chat"
    """`text`: plain completions without the model's chat template, for base models."""
    meta_template: dict[str, Any] | None = None
    """OpenCompass's meta template; with `prompts: text`, what stands before and after the text of each role."""
    max_out_len: Annotated[int, Field(ge=1)] | None = None
    """Longest answer in tokens where the data set's config names none; `generation.max_tokens` wins over both.
    Default: 1024."""
    strip_prompts: bool = False
    """Line breaks at the end of prompts are not sent: Llama models complete code badly after one."""
    judge: JudgeSpec | None = None
    """Who judges the answers of data sets that are scored by a model."""
