"""A client of the service: `with ServiceClient("http://127.0.0.1:8420") as service: service.submit(spec)`."""

from clients.service.client import ServiceClient
from clients.service.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    IdempotencyConflict,
    NotFound,
    PolicyRefused,
    PreconditionFailed,
    QueueFull,
    RateLimited,
    ServiceError,
    ServiceFailed,
    ServiceNotReady,
    ServiceUnreachable,
    SpecRefused,
    StillRunning,
    TooMany,
    Unauthorized,
)
from clients.service.models import Deployment, Event, Job, JobSummary, State
from clients.service.signature import BadSignature, verify

__all__ = [
    "BadRequest",
    "BadSignature",
    "Conflict",
    "Deployment",
    "Event",
    "Forbidden",
    "IdempotencyConflict",
    "Job",
    "JobSummary",
    "NotFound",
    "PolicyRefused",
    "PreconditionFailed",
    "QueueFull",
    "RateLimited",
    "ServiceClient",
    "ServiceError",
    "ServiceFailed",
    "ServiceNotReady",
    "ServiceUnreachable",
    "SpecRefused",
    "State",
    "StillRunning",
    "TooMany",
    "Unauthorized",
    "verify",
]
