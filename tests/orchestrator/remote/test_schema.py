"""The client's models and routes are those of the service, field by field."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from clients.service import models
from clients.service.models.job import Event
from clients.service.routes import Route
from orchestrator import record
from tests.orchestrator.service.support import Running

PAIRS = {
    "Job": models.Job,
    "JobSummary": models.JobSummary,
    "Sample": models.Sample,
    "Log": models.Log,
    "Artifact": models.Artifact,
    "DeploymentView": models.Deployment,
    "ComparisonView": models.Comparison,
    "EngineView": models.EngineInfo,
    "EvaluatorView": models.EvaluatorInfo,
    "Resources": models.Resources,
    "AuditLine": models.AuditLine,
}
"""Name in the service's schema -> our model."""


@pytest.fixture(scope="session")
def schema(served: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{served.url}/openapi.json", timeout=30).json()
    return found


def test_the_client_knows_every_route_and_no_other(schema: dict[str, Any]) -> None:
    assert {route.value for route in Route} == set(schema["paths"])


@pytest.mark.parametrize("name", PAIRS)
def test_a_model_has_the_fields_of_the_services(name: str, schema: dict[str, Any]) -> None:
    ours = PAIRS[name].model_json_schema(mode="serialization")
    differences = list(_differences(name, ours, ours, schema["components"]["schemas"][name], schema))
    assert differences == []


def test_events_have_the_fields_of_the_services() -> None:
    """Their schema is that of a stream, so the model behind it is compared."""
    ours, theirs = (kind.model_json_schema(mode="serialization") for kind in (Event, record.Event))
    assert list(_differences("Event", ours, ours, theirs, theirs)) == []


def test_the_comparison_of_models_finds_a_difference() -> None:
    class Other(BaseModel):
        seq: str
        time: str

    ours, theirs = (kind.model_json_schema(mode="serialization") for kind in (Event, Other))
    found = list(_differences("Event", ours, ours, theirs, theirs))
    assert any(line.startswith("Event.seq: ") for line in found)
    assert "Event.attempt: not in the service's schema" in found


def _differences(path: str, ours: Any, our_root: Any, theirs: Any, their_root: Any) -> Any:
    """Where two schemas differ; an object of ours without named fields takes whatever the service sends."""
    ours, theirs = _resolved(ours, our_root), _resolved(theirs, their_root)
    if "properties" in ours:
        yield from _of_fields(path, ours, our_root, theirs, their_root)
    elif "anyOf" in ours and "anyOf" in theirs:
        for ours_one, theirs_one in zip(ours["anyOf"], theirs["anyOf"], strict=True):
            yield from _differences(path, ours_one, our_root, theirs_one, their_root)
    elif ours.get("type") == "array" and "items" in ours and "items" in theirs:
        yield from _differences(f"{path}[]", ours["items"], our_root, theirs["items"], their_root)
    elif _kind(ours) != _kind(theirs):
        yield f"{path}: {_kind(ours)} here, {_kind(theirs)} there"


def _of_fields(path: str, ours: Any, our_root: Any, theirs: Any, their_root: Any) -> Any:
    mine, others = ours["properties"], theirs.get("properties", {})
    yield from (f"{path}.{name}: not in the service's schema" for name in mine.keys() - others.keys())
    yield from (f"{path}.{name}: not in the client's model" for name in others.keys() - mine.keys())
    for name in mine.keys() & others.keys():
        yield from _differences(f"{path}.{name}", mine[name], our_root, others[name], their_root)


def _resolved(schema: Any, root: Any) -> Any:
    while "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _kind(schema: Any) -> Any:
    """Type and values, whatever it is called and however it is described."""
    return schema.get("type"), sorted(schema.get("enum", ()))
