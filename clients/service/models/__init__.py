"""The service's documents."""

from clients.service.models.base import Document, Page
from clients.service.models.comparison import Comparison, Difference, Gate, Variant
from clients.service.models.deployment import Deployment, DeploymentState
from clients.service.models.inventory import AuditLine, EngineInfo, EvaluatorInfo, Gpu, Lease, PortRange, Resources
from clients.service.models.job import (
    Artifact,
    DatasetResult,
    Event,
    Failure,
    Job,
    JobSummary,
    Log,
    Progress,
    Sample,
    ShortFailure,
    State,
    Teardown,
)

__all__ = [
    "Artifact",
    "AuditLine",
    "Comparison",
    "DatasetResult",
    "Deployment",
    "DeploymentState",
    "Difference",
    "Document",
    "EngineInfo",
    "EvaluatorInfo",
    "Event",
    "Failure",
    "Gate",
    "Gpu",
    "Job",
    "JobSummary",
    "Lease",
    "Log",
    "Page",
    "PortRange",
    "Progress",
    "Resources",
    "Sample",
    "ShortFailure",
    "State",
    "Teardown",
    "Variant",
]
