"""Jobs through the service: queued, placed, run by processes of their own."""

from __future__ import annotations

from tests.orchestrator.service.support import Running, spec


def test_a_submitted_job_runs_and_succeeds(service: Running) -> None:
    job = service.submit(spec())
    done = service.wait_end(job)
    assert done["state"] == "succeeded", done
    assert done["attempt"] == 1
    assert done["results"][0]["answered"] == 5
    events = service.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    states = [event["state"] for event in events if event["type"] == "state"]
    assert states == ["queued", "allocating", "starting", "probing", "evaluating", "stopping", "succeeded"]
    assert service.post(f"/jobs/{job}/cancel").status_code == 409
