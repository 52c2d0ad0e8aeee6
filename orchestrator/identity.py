"""What served, as data: the serving fingerprint that stands in the record of a job and in everything made of it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

_PLAIN = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GpuIdentity(BaseModel):
    """One GPU that the model ran on."""

    model_config = _PLAIN

    index: int
    name: str
    memory_total: int
    """In bytes."""


class SamplingIdentity(BaseModel):
    """What decides how tokens are drawn: requests first, then the gateway's additions, then the model's defaults."""

    model_config = _PLAIN

    requested: list[dict[str, Any]]
    """Per evaluation, what its spec sets."""
    always: dict[str, Any] = {}
    """What the gateway adds to each request that does not say it."""
    greedy: dict[str, Any] = {}
    """What it adds beside that at temperature 0."""
    model: dict[str, Any] = {}
    """The model's own `generation_config.json`; whether the engine applies it is the fidelity check of that name."""


class ServingIdentity(BaseModel):
    """Everything that two runs must share before a difference of their scores is the model's."""

    model_config = _PLAIN

    digest: str
    """Of all that changes an engine's answers: equal digests may answer from each other's journals."""
    engine: str
    version: str | None
    """Of the engine; None where it lives outside our environments."""
    torch: str | None
    requirements: str | None
    """SHA-256 of the pinned requirements of its environment."""
    packages_off: dict[str, str | None]
    """Packages of the environment that differ from their pin: name -> installed version, None when missing."""
    argv: list[list[str]]
    """The command of each replica."""
    env: dict[str, str]
    """Variables that the first replica's process has beyond the scrubbed environment."""
    model: str | None
    model_hash: str | None
    """Of the model's files, contents up to 64 MB each; None where the files are not here."""
    tokenizer_hash: str | None
    """Of the tokenizer's files."""
    template_hash: str | None
    """Of the chat template: the spec's, else the model's own."""
    sampling: SamplingIdentity
    gpus: list[GpuIdentity]
    driver: str | None
    """Of the GPUs; None without a driver."""
