"""Servers that outlive a job: deployed by people, or kept alive between jobs with the same `serve`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.orchestrator.service.support import Running, held, spec
from tests.orchestrator.support import FAKE, wait_for

pytestmark = pytest.mark.slow


def serve(*engine: str, gpus: int = 1) -> dict[str, Any]:
    return {"engine": "custom", "model": "fake", "command": [*FAKE, *engine], "tensor_parallel": gpus}


def deployment(service: Running, name: str) -> dict[str, Any]:
    answer = service.client.get(f"{service.url}/deployments/{name}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def deployments(service: Running) -> list[dict[str, Any]]:
    return list(service.client.get(f"{service.url}/deployments").json()["items"])


def wait_deployment(service: Running, name: str, state: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found = deployment(service, name)
        return found if found["state"] == state else None

    return wait_for(reached, f"deployment {name} that is {state}")


def deploy(service: Running, **body: Any) -> dict[str, Any]:
    answer = service.post("/deployments", json=body)
    assert answer.status_code in (201, 202), answer.text
    return dict(answer.json())


def test_a_deployment_serves_until_it_is_deleted(shared: Running) -> None:
    made = deploy(shared, serve=serve(gpus=2), name="two")
    ready = wait_deployment(shared, made["id"], "ready")
    assert len(ready["gpus"]) == 2
    models = httpx.get(f"{ready['gateway_url']}/v1/models", trust_env=False).json()
    assert models["data"][0]["id"] == "fake"
    assert shared.post("/deployments", json={"serve": serve(), "name": "two"}).status_code == 409
    assert shared.client.delete(f"{shared.url}/deployments/{made['id']}").status_code in (202, 204)
    stopped = wait_deployment(shared, made["id"], "stopped")
    assert stopped["gpus"] == ready["gpus"]
    assert not shared.left()


def test_a_job_with_the_same_serve_uses_the_deployment(shared: Running) -> None:
    job = spec(gpus=4)
    made = deploy(shared, serve=job["serve"], name="four")
    wait_deployment(shared, made["id"], "ready")
    done = shared.wait_end(shared.submit(job))
    assert (done["state"], done["deployment"]) == ("succeeded", made["id"]), done
    assert done["results"][0]["answered"] == 5
    assert deployment(shared, made["id"])["state"] == "ready"
    shared.client.delete(f"{shared.url}/deployments/{made['id']}")
    wait_deployment(shared, made["id"], "stopped")


def test_jobs_with_keep_alive_use_one_server_in_turn_which_ends_when_nobody_came(shared: Running) -> None:
    jobs = [shared.submit(spec(gpus=4, keep_alive=3.0)) for _ in range(2)]
    used = {shared.wait_end(job)["deployment"] for job in jobs}
    assert len(used) == 1
    (name,) = used
    assert name
    found = [shared.job(job) for job in jobs]
    assert [one["state"] for one in found] == ["succeeded", "succeeded"], found
    wait_deployment(shared, name, "stopped")


def test_an_idle_server_makes_room_for_another_job(shared: Running) -> None:
    first = shared.submit(spec(gpus=4, keep_alive=600.0))
    kept = shared.wait_end(first)["deployment"]
    second = shared.submit(spec(gpus=2))
    assert shared.wait_end(second)["state"] == "succeeded"
    wait_deployment(shared, kept, "stopped")


def test_a_server_that_cannot_start_fails_its_job_with_the_cause(shared: Running) -> None:
    job = shared.submit(spec("--exit-on-load", "7", keep_alive=600.0))
    done = shared.wait_state(job, "failed")
    assert done["failure"]["code"] == "engine_exited"
    assert done["attempt"] == 1
    assert done["failure"]["command"]


def test_a_job_whose_server_is_killed_with_its_owner_is_tried_again(shared: Running, gate: Path) -> None:
    job = shared.submit(held(gate, gpus=4, keep_alive=1.0))
    first = shared.wait_state(job, "evaluating")["deployment"]
    os.kill(deployment(shared, first)["record"]["pid"], signal.SIGKILL)
    wait_for(lambda: shared.job(job)["attempt"] == 2, "second attempt")
    gate.touch()
    done = shared.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    assert deployment(shared, first)["state"] == "failed"
    wait_deployment(shared, done["deployment"], "stopped")


def test_deployments_outlive_the_service(service: Running) -> None:
    made = deploy(service, serve=serve(), name="lasting")
    pid = wait_deployment(service, made["id"], "ready")["record"]["pid"]
    service.kill()
    service.start()
    assert wait_deployment(service, made["id"], "ready")["record"]["pid"] == pid
    service.client.delete(f"{service.url}/deployments/{made['id']}")
    wait_deployment(service, made["id"], "stopped")


def test_gpus_that_jobs_hold_are_not_deployed_on(shared: Running, gate: Path) -> None:
    job = shared.submit(held(gate, gpus=3))
    shared.wait_state(job, "evaluating")
    refused = shared.post("/deployments", json={"serve": serve(gpus=2), "name": "late"})
    assert refused.json()["code"] == "gpu_unavailable", refused.text
    shared.post(f"/jobs/{job}/cancel")
    shared.wait_end(job)
