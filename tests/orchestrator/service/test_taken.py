"""GPUs and ports that somebody else takes first: the job waits for them, and none of its attempts is used up."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchers.gpus import discover, lease_gpus
from tests.orchestrator.service.support import Running, serving, spec
from tests.orchestrator.support import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Iterator[Running]:
    """A service that gives up a job with its first lost attempt, and has two runners that wait."""
    folder = tmp_path_factory.mktemp("strict")
    settings = {"ORCHESTRATOR_SERVICE__ATTEMPTS_MAX": "1", "ORCHESTRATOR_SERVICE__SPARES": "2"}
    with serving(folder, evaluator_environments, **settings) as running:
        yield running


def named_port(port: int, *engine: str) -> dict[str, object]:
    job = spec(*engine, limit=2)
    job["serve"]["port"] = port
    return job


def test_a_job_whose_gpu_and_then_port_another_took_waits_until_they_are_free(strict: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
    wait_for(lambda: len(strict.spares()) == 2, "runners that wait")
    spares = strict.spares()
    for spare in spares:
        os.kill(spare, signal.SIGSTOP)  # between the decision and the runner's lease
    job = strict.submit(named_port(port))
    wait_for(lambda: strict.job(job)["attempt"] == 1, "decision")
    gpus = strict.home / "leases" / "gpus"
    with lease_gpus(gpus, discover(4, {}), owner="the other", count=4):
        for spare in spares:
            os.kill(spare, signal.SIGCONT)
        wait_for(lambda: "needs 1 GPU" in str(strict.job(job)["waiting"]), "job that waits for the GPU")
        foreign = socket.create_server(("127.0.0.1", port))
    with foreign:
        wait_for(lambda: f"needs port {port}" in str(strict.job(job)["waiting"]), "job that waits for the port")
    done = strict.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    (event,) = [event for event in strict.events(job) if event["state"] == "queued" and event["attempt"] == 1]
    assert event["code"] == "gpu_unavailable"
    assert "the other" in event["message"]


def test_two_jobs_with_one_port_run_one_after_the_other(strict: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first, second = (strict.submit(named_port(port, "--latency", "0.3")) for _ in range(2))
    why = wait_for(lambda: strict.job(second)["waiting"] if strict.job(first)["attempt"] else None, "reason to wait")
    assert first in why
    for job in (first, second):
        done = strict.wait_end(job)
        assert (done["state"], done["attempt"]) == ("succeeded", 1), done
