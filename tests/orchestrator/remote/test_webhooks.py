"""Calls of the operator's URLs when a job is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.service import verify
from orchestrator.webhooks import ATTEMPTS, LONGEST, forbidden, next_attempt
from tests.clients.scripted_service import LOST, Answer, scripted
from tests.orchestrator.service.support import Running, spec
from tests.orchestrator.support import wait_for

SECRET = "known to both sides"


@pytest.mark.slow
def test_a_job_that_ends_is_told_until_it_is_taken_and_only_once(tmp_path: Path, evaluator_environments: Path) -> None:
    (tmp_path / "environments").symlink_to(evaluator_environments)
    with scripted([LOST, Answer(500), Answer(200)]) as receiver:
        hooks = [
            {"url": f"{receiver.url}/told", "secret": SECRET, "first_retry": 0.1},
            {"url": "http://169.254.169.254/latest/meta-data"},
        ]
        running = Running(tmp_path, ORCHESTRATOR_SERVICE__WEBHOOKS=json.dumps(hooks))
        running.start()
        try:
            job = running.submit(spec("--exit-on-load", "7"))
            running.wait_end(job)
            wait_for(lambda: len(receiver.requests) >= 3, "the call that is taken", timeout=30)
            running.restart()  # at once: a stop gives the call time to be noted down
            second = running.submit(spec(gpus=1))  # there is none: it waits until it is cancelled
            running.post(f"/jobs/{second}/cancel")
            wait_for(lambda: len(receiver.requests) >= 4, "the call for the second job", timeout=30)
        finally:
            running.stop()
            running.client.close()
    told = [json.loads(body) for body in receiver.bodies]
    assert [one["job"]["id"] for one in told] == [job, job, job, second]
    assert [one["type"] for one in told[2:]] == ["job.failed", "job.cancelled"]
    assert told[0]["job"]["failure"]["code"] == "engine_exited"
    for body, header in zip(receiver.bodies, receiver.headers("orchestrator-signature"), strict=True):
        assert header
        verify(body, header, SECRET)
    assert len(set(receiver.headers("orchestrator-delivery"))) == 2
    assert SECRET not in "".join(path.read_text() for path in tmp_path.glob("*.json*"))
    assert "is never called" in (tmp_path / "service.log").read_text()


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "::"],
)
def test_addresses_that_are_never_called(address: str) -> None:
    assert forbidden(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "8.8.8.8", "2001:4860:4860::8888", "::1"])
def test_addresses_that_an_operator_may_name(address: str) -> None:
    assert not forbidden(address)


def test_calls_are_repeated_less_and_less_often_and_then_given_up() -> None:
    pauses = [next_attempt(attempts, 5.0) for attempts in range(ATTEMPTS)]
    assert pauses[:4] == [5.0, 20.0, 80.0, 320.0]
    assert pauses[-2:] == [LONGEST, None]
