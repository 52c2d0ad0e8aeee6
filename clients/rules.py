"""What the gateway may change in a request: named rules, in order, each counted when it changed something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from clients.replica import Replica
from clients.request import InferenceRequest

Rule = Callable[[dict[str, Any], Replica], dict[str, Any]]
"""Gives the changed body, or the very body it got; never changes it in place. Its `__name__` is its name."""


def model_name(body: dict[str, Any], replica: Replica) -> dict[str, Any]:
    """The `model` of the request becomes the name that this engine expects."""
    if replica.model is None or "model" not in body or body["model"] == replica.model:
        return body
    return {**body, "model": replica.model}


RULES: tuple[Rule, ...] = (model_name,)


def apply_rules(rules: Sequence[Rule], request: InferenceRequest, replica: Replica) -> tuple[bytes, tuple[str, ...]]:
    """The body to send and the names of the rules that changed it; byte for byte the client's if none did."""
    if request.json is None:
        return request.body, ()
    body, applied = request.json, []
    for rule in rules:
        changed = rule(body, replica)
        if changed is not body:
            body = changed
            applied.append(rule.__name__)
    return (orjson.dumps(body), tuple(applied)) if applied else (request.body, ())
