"""What is here and how the service is: engines, evaluators, resources, metrics, the schema itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.spec.models import JobSpec
from tests.orchestrator.api.support import Running, job_spec, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_engines_say_what_they_are_here(service: Running) -> None:
    items = {one["name"]: one for one in (await service.client.get("/engines")).json()["items"]}
    assert {"lightllm", "lmdeploy", "vllm", "sglang", "transformers", "llamacpp", "custom", "external"} <= set(items)
    assert items["custom"]["state"] == "built in"
    assert items["vllm"]["state"] == "missing"
    assert items["vllm"]["next"].startswith("orchestrator install vllm")


async def test_evaluators_say_what_they_are_here(service: Running) -> None:
    items = {one["name"]: one for one in (await service.client.get("/evaluators")).json()["items"]}
    assert items["straight"]["state"] == "installed"
    assert items["opencompass"]["state"] == "missing"


async def test_resources_name_who_holds_what(queue: Running) -> None:
    [blocker] = [one for one in (await queue.client.get("/jobs")).json()["items"] if one["name"] == "blocker"]
    found = (await queue.client.get("/resources")).json()
    assert [(gpu["index"], gpu["holder"]) for gpu in found["gpus"]] == [(0, blocker["id"])]
    assert found["leases"] == [{"kind": "gpu", "number": 0, "holder": blocker["id"]}]
    assert (found["running"], found["queued"]) == (1, 0)


async def metrics(service: Running) -> dict[str, float]:
    """Every sample by its name and labels, as in `jobs{state=queued}`."""
    families = text_string_to_metric_families((await service.client.get("/metrics")).text)
    return {_key(sample.name, sample.labels): sample.value for family in families for sample in family.samples}


def _key(name: str, labels: Mapping[str, str]) -> str:
    told = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name.removeprefix('orchestrator_')}{{{told}}}"


async def test_metrics_count_a_job_through_its_life(service: Running) -> None:
    before = await metrics(service)
    await service.over((await service.submit(job_spec()))["id"])
    finished = "jobs_finished_total{code=,engine=custom,state=succeeded}"

    async def counted() -> dict[str, float] | None:
        found = await metrics(service)
        return found if found.get(finished, 0.0) > before.get(finished, 0.0) else None

    after = await wait_for(counted, "the job in the metrics")
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    assert grown[finished] == 1
    assert grown["attempts_total{engine=custom}"] == 1
    assert grown["queue_wait_seconds_count{}"] == 1
    assert grown["job_phase_seconds_count{engine=custom,phase=evaluating}"] == 1
    assert grown["gateway_requests_total{engine=custom,outcome=answered}"] == 5
    assert grown["http_requests_total{method=POST,route=/jobs,status=202}"] == 1
    assert grown["jobs{state=succeeded}"] == 1
    assert after["ready{}"] == 1
    assert after["queue_length{}"] == 0


async def test_the_schema_has_the_specs_manual_and_an_example_that_holds(service: Running) -> None:
    schema = (await service.client.get("/openapi.json")).json()
    spec = schema["components"]["schemas"]["JobSpec"]
    assert spec["properties"]["priority"]["description"] == JobSpec.model_fields["priority"].description
    body = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/JobSpec"}
    JobSpec.model_validate(body["example"])
    assert "/attempts/{job}/{attempt}/reports" not in schema["paths"]


async def test_every_reference_of_the_schema_leads_somewhere(service: Running) -> None:
    schema = (await service.client.get("/openapi.json")).json()
    known = set(schema["components"]["schemas"])
    named = {part.split('"')[0] for part in json.dumps(schema).split("#/components/schemas/")[1:]}
    assert named <= known
    assert known <= named | {"Problem"}


async def test_every_route_documents_its_problems_and_its_parameters(service: Running) -> None:
    paths: dict[str, dict[str, Any]] = (await service.client.get("/openapi.json")).json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert operation["description"], path
            assert {"401", "403", "422", "429", "500"} <= set(operation["responses"])
            assert ("404" in operation["responses"]) == ("{" in path), (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (method, path, parameter["name"])
