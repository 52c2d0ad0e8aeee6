"""The typed client against the service as it runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from clients.service import (
    Conflict,
    IdempotencyConflict,
    NotFound,
    PreconditionFailed,
    ServiceClient,
    SpecRefused,
    State,
    StillRunning,
)
from tests.orchestrator.service.support import Running, held, spec
from tests.orchestrator.support import FAKE


def test_a_job_from_its_submission_to_its_deletion(client: ServiceClient, tmp_path: Path) -> None:
    labels = {"of": "its whole life"}
    job = client.submit(spec(labels=labels))
    seen: list[int] = []
    done = client.wait(job.id, 60, watch=lambda event: seen.append(event.seq))
    assert done.state is State.SUCCEEDED, done.failure
    assert seen == list(range(1, len(seen) + 1))
    assert [event.seq for event in client.events(job.id, after=seen[-2])] == [seen[-1]]
    assert done.teardown
    assert done.teardown.clean
    assert [(one.asked, one.answered, one.score) for one in client.results(job.id)] == [(5, 5, 100.0)]
    assert [sample.correct for sample in client.samples(job.id, page=2)] == [True] * 5
    assert "engine-0" in [log.name for log in client.logs(job.id)]
    assert b"ready" in b"".join(client.log(job.id, "engine-0", follow=True, tail=1))
    assert client.download(job.id, "report.md", tmp_path / "report.md").read_bytes() == client.artifact(
        job.id, "report.md"
    )
    assert {"report.md", "job.json"} <= {one.path for one in client.artifacts(job.id, page=3)}
    assert [one.id for one in client.jobs(labels=labels, state="succeeded")] == [job.id]
    again = client.retry(job.id)
    assert client.wait(again.id, 60).gateway["replayed"] == 5
    client.delete(job.id, if_state="succeeded")
    with pytest.raises(NotFound):
        client.job(job.id)


def test_the_same_key_makes_one_job_however_often_it_is_sent(client: ServiceClient) -> None:
    held = spec("--load-time", "3600", gpus=2)
    first, second = (client.submit(held, idempotency_key="only-once") for _ in range(2))
    assert first.id == second.id
    with pytest.raises(IdempotencyConflict):
        client.submit(spec(), idempotency_key="only-once")
    with pytest.raises(StillRunning):
        client.wait(first.id, 0.3)
    with pytest.raises(PreconditionFailed):
        client.cancel(first.id, if_state="succeeded")
    client.cancel(first.id)
    assert client.wait(first.id, 60).state is State.CANCELLED
    with pytest.raises(Conflict):
        client.cancel(first.id)


def test_every_error_of_a_spec_comes_back(client: ServiceClient) -> None:
    with pytest.raises(SpecRefused) as refused:
        client.submit({"serve": {"engine": "custom", "modle": "x"}, "evaluate": []})
    assert {"serve.modle", "evaluate"} <= {error.path for error in refused.value.errors}


def test_a_plan_starts_nothing(client: ServiceClient) -> None:
    before = [job.id for job in client.jobs()]
    plan = client.plan(spec(gpus=2))
    assert plan["gpus"] == [0, 1]
    assert [job.id for job in client.jobs()] == before


@pytest.mark.slow
def test_a_deployment_from_its_start_to_its_end(client: ServiceClient, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.yaml"
    wanted.write_text(f"name: lasting\nserve: {{engine: custom, model: fake, command: {FAKE!r}}}\n")
    deployment = client.deploy(wanted)
    ready = client.wait_deployment(deployment.id, lambda one: one.state == "ready", timeout=60)
    assert ready.state == "ready", ready.record
    assert ready.url
    assert client.deployment("lasting").id == deployment.id
    assert [one.name for one in client.deployments(living=True)] == ["lasting"]
    with pytest.raises(Conflict):
        client.deploy(wanted)
    client.undeploy("lasting")
    over = client.wait_deployment(deployment.id, lambda one: not one.state.living, timeout=60)
    assert over.record["teardown"]["clean"]


def test_what_is_here_is_told(client: ServiceClient) -> None:
    assert [gpu.index for gpu in client.resources().gpus] == [0, 1]
    assert "straight" in [one.name for one in client.evaluators()]
    assert "custom" in [one.name for one in client.engines()]
    client.check_ready()
    assert "# HELP" in client.metrics()
    assert list(client.comparisons()) == []


@pytest.mark.slow
def test_a_client_that_waits_survives_a_killed_service(tmp_path: Path, evaluator_environments: Path) -> None:
    (tmp_path / "environments").symlink_to(evaluator_environments)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = Running(tmp_path, ORCHESTRATOR_SERVICE__PORT=str(port))
    running.start()
    seen: list[int] = []
    try:
        with ServiceClient(running.url) as client:
            job = client.submit(held(tmp_path / "gate"))

            def watch(event: object) -> None:
                seen.append(event.seq)  # type: ignore[attr-defined]
                if event.state == "evaluating" and running.process and event.phase == "evaluating":  # type: ignore[attr-defined]
                    running.kill()
                    running.start()
                    (tmp_path / "gate").touch()

            assert client.wait(job.id, 90, watch=watch).state is State.SUCCEEDED
    finally:
        running.stop()
        running.client.close()
    assert seen == list(range(1, len(seen) + 1))
