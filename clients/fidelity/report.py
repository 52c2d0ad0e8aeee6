"""What the fidelity probe found: pure data, as it stands in the record of a job."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from clients.errors import ProbeFailed

Verdict = Literal["ok", "note", "falsifies", "unknown"]
FindingName = Literal[
    "answers",
    "prompt_tokens",
    "prompt_tokens_completions",
    "greedy_alone",
    "greedy_batch",
    "max_tokens",
    "stop_strings",
    "generation_config",
    "temperature",
    "logprobs_chat",
    "logprobs_completions",
    "prompt_scores",
    "token_ids",
    "generate",
    "over_long",
]
ORDER: tuple[FindingName, ...] = get_args(FindingName)
"""The order in which findings are told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about an engine."""

    name: FindingName
    verdict: Verdict
    """`note`: good to know; `falsifies`: scores would be wrong; `unknown`: it could not be found out."""
    fact: str
    """What was seen, in one sentence."""
    data: dict[str, Any] = field(default_factory=dict)
    """The figures and texts behind it."""
    advice: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Every finding, in the order of `FindingName`, and the seconds that it took."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def falsifying(self) -> tuple[Finding, ...]:
        """The findings that make scores wrong."""
        return tuple(finding for finding in self.findings if finding.verdict == "falsifies")

    def stopping(self, tolerate: Collection[str]) -> tuple[Finding, ...]:
        """The falsifying ones that are not tolerated."""
        return tuple(finding for finding in self.falsifying if finding.name not in tolerate)


def falsified(findings: Sequence[Finding]) -> ProbeFailed:
    """The error that these findings are."""
    told = "; ".join(f"{finding.name}: {finding.fact}" for finding in findings)
    advice = "; ".join(finding.advice for finding in findings if finding.advice)
    names = ", ".join(finding.name for finding in findings)
    hint = f"{advice}; or score it all the same: probe.fidelity.tolerate: [{names}]"
    return ProbeFailed(f"the engine answers, but scores of its answers would be wrong: {told}", hint=hint)
