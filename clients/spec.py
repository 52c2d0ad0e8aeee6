"""The parts of a job that are about talking to the engine: the probe, and the rules on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clients.fidelity.spec import FidelitySpec


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
    fidelity: FidelitySpec = FidelitySpec()
    """What is checked about the engine's answers before they are scored."""


_QUESTION = frozenset({"model", "messages", "prompt", "inputs", "stream"})


def _no_question(names: Any) -> Any:
    found = sorted(_QUESTION.intersection(names))
    if found:
        raise ValueError(f"{', '.join(found)}: what is asked, not a parameter; no rule may change it")
    return names


class _Rule(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class SetParameters(_Rule):
    """Add or replace parameters of every request."""

    rule: Literal["set_parameters"]
    values: Annotated[dict[str, Any], AfterValidator(_no_question)] = Field(min_length=1)
    """Name and value of each."""


class DropParameters(_Rule):
    """Leave parameters out of every request, for engines that refuse them."""

    rule: Literal["drop_parameters"]
    names: Annotated[list[str], AfterValidator(_no_question)] = Field(min_length=1)
    """Which."""


class ThinkToReasoning(_Rule):
    """`<think>...</think>` at the start of a chat's content moves to `reasoning_content`."""

    rule: Literal["think_to_reasoning"]
    drop: bool = False
    """Leave the thought out instead."""
    opened: bool = False
    """The chat template has written `<think>` already: the answer begins inside the thought."""


class StopStrings(_Rule):
    """Cut answers at the request's own `stop`, for engines that ignore or keep it."""

    rule: Literal["stop_strings"]


class FinishReasonRepair(_Rule):
    """Finish reasons that are missing or in an engine's own words become OpenAI's."""

    rule: Literal["finish_reason_repair"]


class CompletionsGuard(_Rule):
    """Refuse chat-only options of text completions, which engines ignore in silence. The one rule that is on unless
    the spec says otherwise.
    """

    rule: Literal["completions_guard"]
    enabled: bool = True
    """False lets them pass."""


RuleSpec = Annotated[
    SetParameters | DropParameters | ThinkToReasoning | StopStrings | FinishReasonRepair | CompletionsGuard,
    Field(discriminator="rule"),
]
"""One rule on the wire; a job has a list of them, which apply in its order."""


class GatewaySpec(BaseModel):
    """What stands between the evaluator and the replicas."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    routing: Literal["least_in_flight", "two_choices", "prefix"] = "least_in_flight"
    """Which replica a request goes to; `prefix`: prompts that begin alike go to the same one, within its load."""
    attempts: int = Field(3, ge=1, le=20)
    """How often a request is sent at most, on another replica first, when the replica was at fault."""
    sampling_in_full: bool = True
    """Sampling fields that a request leaves out are sent too, where the engine would take them from elsewhere."""
    rules: list[RuleSpec] = []
    """What is changed on the wire, in this order; each rule is counted in the record."""
