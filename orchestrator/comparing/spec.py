"""The comparison spec: one evaluation, several served models, and what the variants are held against."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from clients.spec import GatewaySpec, ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.spec import Seconds, ServeSpec
from orchestrator.comparing.gate import Gate
from orchestrator.comparing.model import Mode
from orchestrator.spec.models import EvaluateSpec, JobSpec, Priority

OWN_PARTS = ("compress", "probe", "gateway")
"""Parts of a job that a variant may have of its own."""


class Served(ServeSpec):
    """One variant: all that `serve` of a job has, and the parts of a job in which it may differ too."""

    compress: CompressSpec | None = None
    """What to make of its model first. Default: nothing."""
    probe: ProbeSpec | None = None
    """Its own probe. Default: the comparison's."""
    gateway: GatewaySpec | None = None
    """Its own rules on the wire. Default: the comparison's."""


class ComparisonSpec(BaseModel):
    """One evaluation over several served models."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=200)] = "comparison"
    """A name for people."""
    serve: Annotated[dict[str, Served], Field(min_length=2)]
    """The variants by name. A list is taken too: each item with a `name`, or named after its engine."""
    baseline: str | None = None
    """The variant that the others are compared with. Default: the first one."""
    evaluate: Annotated[list[EvaluateSpec], Field(min_length=1)]
    """What every variant is asked, in the same words."""
    gate: Gate | None = None
    """The policy that ends in GO, NO-GO or INCONCLUSIVE. Default: the differences only."""
    mode: Mode = "in_turn"
    """`in_turn`: one server at a time, so that none slows another. `side_by_side`: all at once."""
    probe: ProbeSpec = ProbeSpec()
    """The real generation that proves that an engine works."""
    gateway: GatewaySpec = GatewaySpec()
    """What stands between the evaluator and the replicas."""
    priority: Priority = 0
    """Of every job. Needs the service."""
    timeout: Seconds | None = None
    """Seconds for each job. Default: no limit."""
    labels: dict[str, str] = {}
    """Of every job."""

    @field_validator("serve", mode="before")
    @classmethod
    def _named(cls, serve: Any) -> Any:
        return by_name(serve)

    @field_validator("baseline")
    @classmethod
    def _known(cls, baseline: str | None, info: ValidationInfo) -> str | None:
        names = info.data.get("serve", {})
        if baseline is not None and names and baseline not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return baseline

    @property
    def against(self) -> str:
        """Name of the baseline."""
        return self.baseline or next(iter(self.serve))


def jobs_of(spec: ComparisonSpec) -> dict[str, JobSpec]:
    """The job of every variant, in the order of the spec."""
    return {name: _job(spec, name, served) for name, served in spec.serve.items()}


def by_name(serve: Any) -> Any:
    """A list of variants as a mapping; what is no list of mappings is returned as it is.

    Raises: ValueError when a name is there twice.
    """
    if not isinstance(serve, list) or not all(isinstance(item, dict) for item in serve):
        return serve
    engines = Counter(str(item.get("engine")) for item in serve)
    named: dict[str, Any] = {}
    for position, item in enumerate(serve, 1):
        engine = str(item.get("engine"))
        name = str(item.get("name") or (engine if engines[engine] == 1 else f"{engine}-{position}"))
        if name in named:
            raise ValueError(f"name `{name}` is there twice")
        named[name] = {key: value for key, value in item.items() if key != "name"}
    return named


def _job(spec: ComparisonSpec, name: str, served: Served) -> JobSpec:
    serve = served.model_dump(exclude_unset=True, exclude=set(OWN_PARTS))
    return JobSpec(
        name=f"{spec.name}: {name}"[:200],
        serve=ServeSpec.model_validate(serve),
        compress=served.compress,
        probe=served.probe or spec.probe,
        gateway=served.gateway or spec.gateway,
        evaluate=spec.evaluate,
        priority=spec.priority,
        timeout=spec.timeout,
        labels={**spec.labels, "variant": name},
    )
