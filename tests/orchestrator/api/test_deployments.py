"""`/deployments` with a served model that lives."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.orchestrator.api.support import Running, job_spec, problem, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


def deployment(name: str, *engine: str) -> dict[str, Any]:
    spec = job_spec(*engine)
    return {"name": name, "serve": spec["serve"], "probe": spec["probe"]}


async def until(service: Running, place: str, state: str) -> dict[str, Any]:
    """The deployment once it is in `state`."""

    async def reached() -> dict[str, Any] | None:
        found: dict[str, Any] = (await service.client.get(place)).json()
        return found if found["state"] == state else None

    return await wait_for(reached, f"deployment in state {state}")


async def test_a_deployment_serves_until_it_is_deleted(service: Running) -> None:
    answer = await service.client.post("/deployments", json=deployment("mine"))
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]
    ready = await until(service, place, "ready")
    assert ready["name"] == "mine"
    async with httpx.AsyncClient() as client:
        models = (await client.get(f"{ready['url']}/v1/models")).json()
    assert [model["id"] for model in models["data"]] == ["fake"]
    problem(await service.client.post("/deployments", json=deployment("mine")), 409, "conflict")

    by_name = await service.client.get("/deployments/mine")
    assert by_name.json()["id"] == ready["id"]
    assert (await service.client.get(place, headers={"If-None-Match": by_name.headers["etag"]})).status_code == 304
    listed = (await service.client.get("/deployments?living=true")).json()["items"]
    assert [one["id"] for one in listed] == [ready["id"]]

    stale = await service.client.delete(place, headers={"If-Match": '"0"'})
    problem(stale, 412, "precondition_failed")
    assert (await service.client.delete(place, headers={"If-Match": by_name.headers["etag"]})).status_code == 202
    await until(service, place, "stopped")
    assert (await service.client.get("/deployments?living=true")).json()["items"] == []


@pytest.mark.slow
async def test_a_job_with_the_same_serve_uses_the_deployment(service: Running) -> None:
    place = (await service.client.post("/deployments", json=deployment("shared"))).headers["location"]
    ready = await until(service, place, "ready")
    job = await service.over((await service.submit(job_spec()))["id"])
    assert (job["state"], job["deployment"]) == ("succeeded", ready["id"]), job["failure"]
    await service.client.delete(place)
    await until(service, place, "stopped")


async def test_the_plan_of_a_deployment_starts_nothing(service: Running) -> None:
    answer = await service.client.post("/deployments?dry_run=true", json=deployment("planned"))
    assert answer.status_code == 200, answer.text
    assert "orchestrator.fake_engine" in answer.json()["replicas"][0]["argv"]
    problem(await service.client.get("/deployments/planned"), 404, "not_found")


async def test_every_error_of_a_deployment_comes_back_at_once(service: Running) -> None:
    wrong = deployment("no name") | {"evaluate": []}
    wrong["serve"]["command"] = []
    told = problem(await service.client.post("/deployments", json=wrong), 422, "bad_spec")
    assert {error["path"] for error in told["errors"]} == {"name", "evaluate", "serve.command"}
