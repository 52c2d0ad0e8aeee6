"""The `speed` part of an evaluation by evaluator `speed`: what is measured, and how hard the engine is pressed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from launchers.spec import Count, Seconds

QWEN_LENGTHS = (1, 6144, 14336, 30720, 63488, 129024)
"""Context lengths of the Qwen2.5 speed benchmark, in tokens; with 2048 generated each fills a power of two."""
DOUBLING = (1, 2, 4, 8, 16, 32, 64, 128)

By = Literal["concurrency", "rate"]
"""What a sweep raises."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ContextSpec(_Part):
    """Speed by context length: one request at a time, as in the Qwen report."""

    lengths: Annotated[list[Count], Field(min_length=1)] = list(QWEN_LENGTHS)
    """Prompt lengths in tokens; those that do not fit with `generate` are left out, and named."""
    generate: Count = 2048
    """Tokens to generate after each prompt."""
    repeats: Count = 3
    """Measurements of each length, averaged; a warm-up comes first and is not counted."""


class ThroughputSpec(_Part):
    """Throughput: all prompts are asked at once."""

    input: Count = 64
    """Tokens of each prompt."""
    output: Count = 128
    """Tokens generated for each prompt."""
    prompts: Count = 25
    """How many prompts."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the prompts, but for their first two words, which are fresh. Default: fresh."""


class Objective(_Part):
    """What a request must keep to count as good."""

    ttft: Seconds | None = None
    """Seconds until the first token."""
    inter_token: Seconds | None = None
    """Mean seconds between the tokens of the request."""
    latency: Seconds | None = None
    """Seconds until the last token."""


class LoadSpec(_Part):
    """A sweep over rising load; it ends where more load brings no more."""

    input: Count = 512
    """Tokens of each prompt."""
    output: Count = 128
    """Tokens generated for each prompt."""
    concurrency: Annotated[list[Count], Field(min_length=1)] | None = None
    """Requests in flight, point by point. Default: 1, 2, 4, ... 128, unless `rate` is given."""
    rate: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] | None = None
    """Requests per second that arrive, whatever comes back, point by point."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    """How requests arrive in a sweep over `rate`."""
    seconds: Seconds = 20.0
    """For how long new requests are begun at each point."""
    objective: Objective | None = None
    """What counts as good. Default: nothing is counted as such."""
    until_saturated: bool = True
    """End the sweep at the first point that is saturated."""

    @property
    def points(self) -> list[tuple[By, float]]:
        """The points of the sweep, in order: concurrency first."""
        flights = self.concurrency or ([] if self.rate else list(DOUBLING))
        points: list[tuple[By, float]] = [("concurrency", float(one)) for one in flights]
        return [*points, *(("rate", one) for one in self.rate or [])]


class SpeedSpec(_Part):
    """What evaluator `speed` measures; with no part named: `context` and `throughput`, as they are by default."""

    context: ContextSpec | None = None
    """Speed and memory by context length."""
    throughput: ThroughputSpec | None = None
    """Requests and tokens per second of a batch of prompts."""
    load: LoadSpec | None = None
    """Latencies and goodput under rising load."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of all prompts without one of their own, but for their first two words. Default: fresh."""
    shared_gpu: Literal["mark", "refuse"] = "mark"
    """What to do when others use the GPU too: mark every figure as invalid, or measure nothing."""

    @property
    def parts(self) -> SpeedSpec:
        """The same with the default parts where none is named."""
        if self.context or self.throughput or self.load:
            return self
        return self.model_copy(update={"context": ContextSpec(), "throughput": ThroughputSpec()})
