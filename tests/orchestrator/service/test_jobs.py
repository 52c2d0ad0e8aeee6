"""Jobs through the service: queued, placed, run by processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.orchestrator.service.support import Running, spec
from tests.orchestrator.support import ROWS, wait_for


def test_a_submitted_job_runs_and_succeeds(shared: Running) -> None:
    job = shared.submit(spec())
    done = shared.wait_end(job)
    assert done["state"] == "succeeded", done
    assert done["attempt"] == 1
    assert done["results"][0]["answered"] == 5
    events = shared.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    states = [event["state"] for event in events if event["type"] == "state"]
    assert states == ["queued", "allocating", "starting", "probing", "evaluating", "stopping", "succeeded"]
    assert [event.model_dump() for event in shared.folder(job).events()] == events
    assert shared.post(f"/jobs/{job}/cancel").status_code == 409
    assert shared.client.get(f"{shared.url}/resources").json()["leases"] == []


def test_jobs_run_side_by_side_as_gpus_allow_and_a_queued_one_is_cancelled_at_once(shared: Running) -> None:
    first, second = (shared.submit(spec("--latency", "0.5", gpus=2, limit=20, concurrency=1)) for _ in range(2))
    third = shared.submit(spec(gpus=1))
    running = [shared.wait_state(job, "evaluating") for job in (first, second)]
    gpus = [gpu for job in running for gpu in job["resources"]["gpus"]]
    assert sorted(gpus) == [0, 1, 2, 3]
    assert shared.job(third)["state"] == "queued"
    assert shared.post(f"/jobs/{third}/cancel").status_code == 202
    assert shared.job(third)["state"] == "cancelled"
    for job in (first, second):
        assert shared.post(f"/jobs/{job}/cancel").status_code == 202
        done = shared.wait_state(job, "cancelled")
        assert done["teardown"]["clean"]
        assert done["failure"]["code"] == "cancelled"


@pytest.mark.slow
def test_gpus_are_given_back_when_inference_is_over_while_scoring_goes_on(shared: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    rows = [{**json.loads(line), "scored_after": str(gate)} for line in ROWS.read_text().splitlines()[:3]]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    scoring = spec(gpus=4)
    scoring["evaluate"][0]["datasets"] = [str(data)]
    first, second = shared.submit(scoring), shared.submit(spec(gpus=4))
    assert shared.wait_state(second, "starting", "probing", "evaluating")["resources"]["gpus"] == [0, 1, 2, 3]
    assert shared.job(first)["state"] == "evaluating"
    gate.touch()
    assert [shared.wait_end(job)["state"] for job in (first, second)] == ["succeeded", "succeeded"]


def test_a_failed_job_says_why_and_a_retry_runs_again(shared: Running) -> None:
    job = shared.submit(spec("--exit-on-load", "7"))
    done = shared.wait_state(job, "failed")
    assert done["failure"]["code"] == "engine_exited"
    answer = shared.post(f"/jobs/{job}/retry")
    assert answer.status_code == 202
    again = answer.json()["id"]
    assert shared.wait_state(again, "failed")["resumed_from"] == job
    assert shared.client.delete(f"{shared.url}/jobs/{job}").status_code == 204
    assert not shared.folder(job).path.exists()


@pytest.mark.slow
def test_a_retry_reuses_every_answer(shared: Running) -> None:
    job = shared.submit(spec(limit=8))
    shared.wait_state(job, "succeeded")
    again = shared.post(f"/jobs/{job}/retry").json()["id"]
    gateway = shared.wait_state(again, "succeeded")["gateway"]
    assert (gateway["asked"], gateway["replayed"]) == (8, 8)


@pytest.mark.slow
def test_a_queued_job_says_why_it_waits(shared: Running) -> None:
    holder = shared.submit(spec("--latency", "0.5", gpus=4, limit=20, concurrency=1))
    waiting = shared.submit(spec(gpus=3))
    why = wait_for(lambda: shared.job(waiting)["waiting"], "reason to wait")
    assert "3" in why, why
    for job in (waiting, holder):
        shared.post(f"/jobs/{job}/cancel")
        shared.wait_end(job)
