"""Every route of the service that the client uses, as its schema writes them."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import quote


class Route(StrEnum):
    """Path templates."""

    JOBS = "/jobs"
    JOB = "/jobs/{job}"
    CANCEL = "/jobs/{job}/cancel"
    RETRY = "/jobs/{job}/retry"
    EVENTS = "/jobs/{job}/events"
    LOGS = "/jobs/{job}/logs"
    LOG = "/jobs/{job}/logs/{name}"
    RESULTS = "/jobs/{job}/results"
    SAMPLES = "/jobs/{job}/samples"
    ARTIFACTS = "/jobs/{job}/artifacts"
    ARTIFACT = "/jobs/{job}/artifacts/{path}"
    DEPLOYMENTS = "/deployments"
    DEPLOYMENT = "/deployments/{deployment}"
    COMPARISONS = "/comparisons"
    COMPARISON = "/comparisons/{comparison}"
    CANCEL_COMPARISON = "/comparisons/{comparison}/cancel"
    COMPARISON_ARTIFACT = "/comparisons/{comparison}/artifacts/{path}"
    ENGINES = "/engines"
    EVALUATORS = "/evaluators"
    RESOURCES = "/resources"
    HEALTHZ = "/healthz"
    READYZ = "/readyz"
    METRICS = "/metrics"
    AUDIT = "/audit"

    def at(self, **names: str) -> str:
        """The path with its names filled in; only a `path` keeps its slashes."""
        return self.value.format(**{key: quote(name, safe="/" if key == "path" else "") for key, name in names.items()})
