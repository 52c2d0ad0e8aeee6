"""The `compress` part of a job spec: what to make of the model before it is served."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from launchers.spec import Count, Seconds

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class CalibrationSpec(BaseModel):
    """The texts on which a tool measures what the model's weights and activations are like."""

    model_config = _STRICT

    path: str | None = None
    """Tool `llm_compressor`: file of JSON lines, each with `text`, `messages`, or `question` and `answer`."""
    dataset: str | None = None
    """Tool `lmdeploy_auto_awq`: name of a data set that the tool downloads (`wikitext2`, `c4`, ...)."""
    samples: Annotated[int, Field(ge=0)] = 128
    """How many texts; with `lmdeploy_auto_awq` 0 means without any."""
    seqlen: Count = 1024
    """Tokens of each text."""


class CompressSpec(BaseModel):
    """One compression of `serve.model`; what it produces is served in its place, under the same name."""

    model_config = _STRICT

    tool: Literal["gguf", "llm_compressor", "lmdeploy_auto_awq", "llmc", "command"]
    """What compresses. `command` is a command line of your own."""
    scheme: str | None = None
    """Of `gguf`: f32, f16, q8_0 (with llama.cpp also q4_k_m, ...); of `llm_compressor`: w8a8, w4a16, fp8."""
    calibration: CalibrationSpec | None = None
    """Texts to calibrate on. Default: none, the weights are rounded to the nearest value."""
    args: list[str] = []
    """Arguments added to the tool's command line."""
    config: str | None = None
    """Tool `llmc` only: path of its YAML config; its `model.path` and `save.save_path` are replaced by ours."""
    command: list[str] | None = None
    """Tool `command` only: argv with {model} (the source) and {output} (an empty folder for what is produced)."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs leased while it compresses. Default: what the tool needs."""
    timeout: Seconds | None = None
    """Seconds that it may take. Default: no limit but the job's."""
