"""The identity of what serves: two answers may stand for each other only when it is equal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from clients.rules import request_rules
from clients.spec import GatewaySpec
from launchers.models import model_fingerprint
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation

_NOT_IDENTITY = frozenset(
    {"host", "port", "nccl_port", "gpus", "replicas", "startup_timeout", "stall_timeout", "max_restarts"}
)


def serving_fingerprint(spec: ServeSpec, gateway: GatewaySpec, allocation: Allocation) -> str:
    """Engine, its environment, the model's files and every parameter that can change an engine's answer.

    Rules on answers are none of it: they apply on the way out of the journal too.
    """
    parameters = spec.model_dump(mode="json", exclude=set(_NOT_IDENTITY))
    identity = {
        "engine": allocation.engine.name,
        "environment": allocation.environment.requirements_hash if allocation.environment else None,
        "model": model_fingerprint(Path(spec.model).expanduser()) if spec.model else None,
        "parameters": parameters,
        "rules": [rule.model_dump(mode="json") for rule in request_rules(gateway.rules)],
        "sampling_in_full": gateway.sampling_in_full,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
