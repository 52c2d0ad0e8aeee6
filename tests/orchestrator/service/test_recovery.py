"""What dies is noticed, cleaned up and tried again; what lives runs on, whatever happens to the service."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from clients.journal_format import read_records
from launchers import marker, shim
from orchestrator.assignment import read_assignment
from tests.orchestrator.service.support import Running, held, spec
from tests.orchestrator.support import wait_for

pytestmark = pytest.mark.slow


def journaled(service: Running, job: str) -> set[str]:
    """Keys of the requests whose answers are in the job's journal."""
    journal = service.folder(job).journal
    return {record["key"] for record in read_records(journal)} if journal.exists() else set()


def kill_runner(service: Running, job: str) -> None:
    runner = wait_for(lambda: service.runner(job), "runner")
    os.kill(runner, signal.SIGKILL)


def test_a_killed_runner_is_tried_again_and_asks_nothing_that_was_answered(service: Running, gate: Path) -> None:
    job = service.submit(held(gate, "--workers", "2", gpus=2, asked=4, limit=6))
    wait_for(lambda: len(journaled(service, job)) == 4, "answers in the journal")
    kill_runner(service, job)
    wait_for(lambda: not service.folder(job).owned(), "end of the runner")
    gate.touch()
    done = service.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    assert (done["gateway"]["asked"], done["gateway"]["replayed"]) == (6, 4)
    events = service.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event.model_dump() for event in service.folder(job).events()] == events
    assert [event["code"] for event in events if event["state"] == "queued"] == [None, "lost"]
    assert (service.folder(job).path / "attempts" / "1" / "logs" / "engine-0.log").exists()


def test_a_job_whose_runners_keep_dying_fails_as_lost(service: Running) -> None:
    job = service.submit(spec("--load-time", "60", gpus=1))
    for attempt in (1, 2, 3):
        wait_for(lambda: service.job(job)["attempt"] == attempt, f"attempt {attempt}")  # noqa: B023 - used at once
        service.wait_state(job, "starting")
        kill_runner(service, job)
    done = service.wait_state(job, "failed")
    assert done["failure"]["code"] == "lost"
    assert done["attempt"] == 3
    assert not marker.find(f"{job}/")


def test_jobs_run_on_while_the_service_is_away_and_no_event_is_lost_or_doubled(
    service: Running, gate: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    jobs = [service.submit(held(gate)), service.submit(held(later))]
    waiting = service.submit(spec(gpus=4, limit=2))
    for job in jobs:
        service.wait_state(job, "evaluating")
    runners = [service.runner(job) for job in jobs]
    service.kill()
    gate.touch()
    wait_for(lambda: service.folder(jobs[0]).read().state.terminal, "end of a job while the service is away")
    service.start()
    assert service.runner(jobs[1]) == runners[1]
    later.touch()
    for job in (*jobs, waiting):
        done = service.wait_end(job)
        assert (done["state"], done["attempt"]) == ("succeeded", 1), done
        events = service.events(job)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event.model_dump() for event in service.folder(job).events()] == events


def test_a_runner_that_died_while_the_service_was_away_is_tried_again(service: Running, gate: Path) -> None:
    job = service.submit(held(gate, gpus=4))
    service.wait_state(job, "evaluating")
    service.kill()
    kill_runner(service, job)
    gate.touch()
    service.start()
    done = service.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done


def test_a_runner_that_is_told_to_terminate_tears_down_and_its_job_is_tried_again(service: Running, gate: Path) -> None:
    """As when the machine goes down."""
    job = service.submit(held(gate))
    service.wait_state(job, "evaluating")
    os.kill(wait_for(lambda: service.runner(job), "runner"), signal.SIGTERM)
    wait_for(lambda: not service.folder(job).owned(), "end of the runner")
    gate.touch()
    done = service.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    assert "stopping" not in [event["state"] for event in service.events(job) if event["attempt"] == 1]


def test_a_cancel_reaches_a_runner_that_was_started_before_the_service(service: Running, gate: Path) -> None:
    job = service.submit(held(gate, gpus=4))
    service.wait_state(job, "evaluating")
    service.kill()
    service.start()
    assert service.post(f"/jobs/{job}/cancel").status_code == 202
    done = service.wait_state(job, "cancelled")
    assert done["teardown"]["clean"]
    assert done["attempt"] == 1


def test_a_late_report_of_an_earlier_attempt_is_refused(service: Running, gate: Path) -> None:
    job = service.submit(held(gate))
    service.wait_state(job, "evaluating")
    first = read_assignment(service.folder(job))
    kill_runner(service, job)
    wait_for(lambda: service.job(job)["attempt"] == 2, "second attempt")
    report = {"events": [], "record": None}
    as_first = {"authorization": f"Bearer {first.token}"}
    refused = service.post(f"/attempts/{job}/1/reports", json=report, headers=as_first)
    assert (refused.status_code, refused.json()["code"]) == (409, "stale_attempt")
    forged = service.post(f"/attempts/{job}/2/reports", json=report, headers=as_first)
    assert forged.status_code == 404
    gate.touch()
    assert service.wait_end(job)["state"] == "succeeded"


def test_a_runner_whose_attempt_is_over_stops_without_a_trace(service: Running, gate: Path) -> None:
    """The service is told that the attempt is lost while its runner lives: as after a partition of the network."""
    job = service.submit(held(gate, gpus=4))  # all of them: its next attempt begins when it has let them go
    service.wait_state(job, "evaluating")
    runner = wait_for(lambda: service.runner(job), "runner")
    service.kill()
    before = service.folder(job).last_seq()
    service.disown(job, attempt=1)
    lock = service.folder(job).path / "owner.lock"
    lock.rename(lock.with_name("owner.lock.partitioned"))  # as if the runner were on another machine
    service.start()
    wait_for(lambda: not _lives(runner), "end of the stale runner")
    gate.touch()
    done = service.wait_end(job)
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done
    events = service.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["attempt"] for event in events if event["seq"] > before + 1} == {2}


def test_a_second_service_on_the_same_home_refuses(service: Running) -> None:
    second = service.launch()
    assert second.wait(timeout=60) == 1
    assert "service_running" in (service.home / "service.log").read_text()
    assert service.client.get(f"{service.url}/readyz").status_code == 200


def test_the_spare_process_ends_with_the_service(service: Running) -> None:
    wait_for(service.spares, "spare process")
    service.kill()
    wait_for(lambda: not service.spares(), "end of the spare process", timeout=10)


def test_a_runner_that_hangs_is_ended_and_its_job_tried_again(service: Running, gate: Path) -> None:
    service.restart(ORCHESTRATOR_SERVICE__HEARTBEAT_TIMEOUT="5")
    try:
        job = service.submit(held(gate))
        service.wait_state(job, "evaluating")
        os.kill(wait_for(lambda: service.runner(job), "runner"), signal.SIGSTOP)
        gate.touch()
        done = service.wait_end(job)
    finally:
        service.stop()
        del service.settings["ORCHESTRATOR_SERVICE__HEARTBEAT_TIMEOUT"]
    assert (done["state"], done["attempt"]) == ("succeeded", 2), done


def _lives(pid: int) -> bool:
    stat = shim.stat_of(pid)
    return stat is not None and stat.living
