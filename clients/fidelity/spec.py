"""The `probe.fidelity` part of a job: what is checked about an engine before its answers are scored."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from clients.fidelity.report import FindingName


class FidelitySpec(BaseModel):
    """Checks, seconds long, that find what would falsify scores: a wrong prompt, an ignored limit, chance."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)

    enabled: bool = True
    """False: score whatever the engine answers."""
    tolerate: list[FindingName] = []
    """Findings that do not stop the job, by name; they stay in its record."""
    timeout: float = Field(120.0, gt=0)
    """Seconds for all checks together; what is not known by then is `unknown` and stops nothing."""
