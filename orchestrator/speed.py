"""The result model of evaluator `speed`: rows that say what was measured, how, and why a figure may not count."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Percentiles(_Row):
    """A distribution of times, in seconds."""

    mean: float
    p50: float
    p90: float
    p99: float


class Memory(_Row):
    """The most memory that the serving processes had at any look (twice a second)."""

    bytes: int
    kind: Literal["gpu_process", "gpu_device", "resident"]
    """`gpu_process`: of these processes on their GPUs, as the driver tells; `gpu_device`: all that is used on their
    GPUs, where it does not; `resident`: main memory of the process tree, on a processor."""


class ContextSpeed(_Row):
    """One context length, one request at a time."""

    context: int
    """Prompt tokens that were wanted."""
    prompt_tokens: int | None
    """Prompt tokens that the engine counted; None: it does not tell."""
    generate: int
    """Tokens to generate."""
    generated: float
    """Tokens that came, averaged."""
    counted_by: Literal["usage", "finish_reason", "events"]
    """How that is known: the engine's usage, its `length` as finish reason, or the events of the stream."""
    speed: float | None
    """Generated tokens per second of the whole request, prefill included (as the Qwen report has it), averaged. The
    answers come whole: what streaming costs an engine is not in it."""
    speeds: list[float]
    """That of each repeat."""
    ttft: float | None
    """Seconds until the first token, averaged over short streamed answers."""
    decode: float | None
    """Tokens per second after the first one: what `speed` is without `ttft`."""
    memory: Memory | None
    failed: int = 0
    invalid: list[str] = []
    """Why this is not the engine's own speed; empty: it is."""


class ThroughputSpeed(_Row):
    """All prompts at once."""

    prompts: int
    input: int
    """Prompt tokens that the engine counted, averaged."""
    output: float
    """Generated tokens, averaged."""
    seed: int
    seconds: float
    """From the first request to the last token."""
    requests_per_second: float
    output_tokens_per_second: float
    total_tokens_per_second: float
    """Prompt and generated tokens."""
    latency: Percentiles | None
    """Of a request, all of them being asked at once."""
    memory: Memory | None
    failed: int = 0
    invalid: list[str] = []


class LoadSpeed(_Row):
    """One point of a sweep."""

    by: Literal["concurrency", "rate"]
    offered: float
    """Requests in flight, or requests per second that arrived."""
    seconds: float
    """Length of the window that was measured."""
    asked: int
    failed: int
    requests_per_second: float
    """In the window; a request counts there by the share of its time that lies in it."""
    output_tokens_per_second: float
    total_tokens_per_second: float
    ttft: Percentiles | None
    inter_token: Percentiles | None
    """Gaps between tokens, over all requests."""
    latency: Percentiles | None
    goodput: float | None
    """Requests per second that kept the objective; None: there is none."""
    good: float | None
    """Share of the answered requests that did."""
    saturated: bool
    memory: Memory | None = None
    invalid: list[str] = []


class SpeedResult(_Row):
    """All that one run of evaluator `speed` found."""

    evaluator: str = "speed"
    dataset: str = "speed"
    """Where results are listed beside those of data sets."""
    seed: int
    """What the prompts were drawn from, beside two fresh words at the start of each."""
    tokenizer: str | None
    """Folder of the tokenizer that prompts were made with; None: the engine's counts were all there was."""
    full_length: str | None
    """Request fields by which the engine goes on after an end-of-text token; None: it cannot be told to."""
    max_model_len: int | None
    """Longest prompt and answer together, as far as known."""
    context: list[ContextSpeed] = []
    throughput: list[ThroughputSpeed] = []
    load: list[LoadSpeed] = []
    skipped: list[str] = []
    """What was not measured, and why."""
    notes: list[str] = []
    """What a reader must know about all of it."""
    asked: int = 0
    """Requests that were measured, in the context and throughput parts."""
    failed: int = 0
    client: dict[str, Any] = {}
    """Gauges of the process that asked: see `clients.honesty`."""
    machine_load: float = 0.0
    """Load average over a minute just before."""

    @property
    def answered(self) -> int:
        """Requests of those that were answered."""
        return self.asked - self.failed

    @property
    def coverage(self) -> float:
        """answered / asked; 1 where nothing was asked."""
        return self.answered / self.asked if self.asked else 1.0
