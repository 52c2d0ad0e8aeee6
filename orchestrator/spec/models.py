"""The job spec as pydantic models; the docstring under a field is its manual, in the JSON schema too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from clients.spec import GatewaySpec, ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.spec import Count, Seconds, ServeSpec
from orchestrator.spec.lm_eval import LmEvalSpec
from orchestrator.spec.opencompass import OpenCompassSpec
from orchestrator.spec.speed import SpeedSpec

Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Generation(BaseModel):
    """How the model is asked to generate. Every field that is set is sent with every request."""

    model_config = _STRICT

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy decoding: the same answer every time."""
    max_tokens: Count | None = None
    """Longest answer in tokens. Default: what the data set's config says, else 1024."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Sample from the smallest set of tokens whose probabilities add up to this."""
    top_k: Count | None = None
    """Sample from this many most likely tokens."""
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    """Above 1 makes tokens that already occurred less likely."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the sampling of each request."""
    stop: list[str] = []
    """Strings that end an answer."""


class EvaluateSpec(BaseModel):
    """One evaluator over one or more data sets."""

    model_config = _STRICT

    evaluator: str
    """What asks and scores: `opencompass`, `lm_eval`, `speed`, or one that a package registers."""
    datasets: Annotated[list[str], Field(min_length=1)] = []
    """Names or patterns of the evaluator's data set configs, or paths: of config files, and (OpenCompass) of jsonl or
    csv files with questions and answers. Required, but for evaluator `speed`."""
    limit: Count | None = None
    """Only the first N samples of each data set."""
    concurrency: Count | Literal["auto"] = "auto"
    """Requests in flight. `auto`: what suits the engine, times the replicas."""
    generation: Generation = Generation()
    """Sampling parameters and the longest answer."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the samples that the engine must answer; below it the job ends `incomplete`."""
    timeout: Seconds | None = None
    """Seconds that this evaluator may take. Default: no limit but the job's."""
    opencompass: OpenCompassSpec | None = None
    """Evaluator `opencompass` only: summarizer, templates, judge."""
    lm_eval: LmEvalSpec | None = None
    """Evaluator `lm_eval` only: examples, chat or completions, tasks of your own."""
    speed: SpeedSpec | None = None
    """Evaluator `speed` only: what is measured."""


class JobSpec(BaseModel):
    """A whole job: what to serve, how to probe it, what to evaluate on it."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A name for people. Default: made of the evaluators, the model and the engine."""
    serve: ServeSpec
    """What to start."""
    compress: CompressSpec | None = None
    """What to make of `serve.model` first; the result is served in its place. Default: nothing."""
    probe: ProbeSpec = ProbeSpec()
    """The real generation that proves that the engine works."""
    gateway: GatewaySpec = GatewaySpec()
    """What stands between the evaluator and the replicas."""
    evaluate: Annotated[list[EvaluateSpec], Field(min_length=1)]
    """What to run on the server, one after the other; the server is started once for all of them."""
    keep_alive: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that the server is kept warm for the next job with the same `serve`. Needs the service."""
    priority: Priority = 0
    """Higher runs first. Needs the service."""
    timeout: Seconds | None = None
    """Seconds for the whole job. Default: no limit."""
    labels: dict[str, str] = {}
    """Free labels for people and filters."""
    notes: list[str] = []
    """What readers of the record and the report are told, e.g. what of an OpenCompass config is not carried over."""
