"""`kill -9` over everything: each job ends as it must, nothing is leased twice, asked twice, or left behind."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from clients.journal_format import read_records
from launchers import shim
from tests.chaos.storm import GPUS, SAMPLES, Storm, Watcher, is_over
from tests.orchestrator.service.support import Running
from tests.orchestrator.support import install_straight, wait_for

AHEAD = 6
"""Kills by which the storm may be ahead of the jobs: it lasts as long as they do, whatever the machine does."""
EXPLAINS = {
    "lost": "runner",
    "evaluator_failed": "evaluator",
    "engine_exited": "engine",
    "start_failed": "engine",
    "probe_failed": "engine",
    "engine_failed": "engine",
}
"""Code of a failure -> what must have been killed of that job."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    home = tmp_path / "home"
    install_straight(home / "environments")
    running = Running(home, ORCHESTRATOR_GPUS=str(GPUS))
    running.start()
    yield running
    running.stop()
    running.client.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_storm_loses_nothing(service: Running) -> None:
    _storm(service, jobs=8, kills=10, seed=3)


@pytest.mark.heavy
@pytest.mark.timeout(3000)
def test_a_hundred_kills_over_sixty_jobs_lose_nothing(service: Running) -> None:
    _storm(service, jobs=60, kills=100, seed=7)


def _storm(service: Running, *, jobs: int, kills: int, seed: int) -> None:
    storm = Storm(service, random.Random(seed))
    began = time.monotonic()
    with Watcher(service.home) as watcher:
        storm.submit(jobs)
        while len(storm.kills) < kills and (living := storm.living()):
            if len(storm.kills) <= kills * (1 - len(living) / jobs) + AHEAD:
                storm.strike()
            time.sleep(storm.dice.uniform(0, 1))
        for job in storm.jobs:
            wait_for(lambda: is_over(service, job), f"end of {job}", timeout=600)  # noqa: B023 - used at once
        wait_for(lambda: not service.left(), "home where nothing of a job is left", timeout=60)
    ends = Counter(_check(storm, job) for job in storm.jobs)
    service.stop()
    assert not _left(service)
    assert len(storm.kills) == kills
    assert not watcher.clashes
    assert watcher.looks > 20
    assert watcher.most >= 2
    print(
        f"\n{dict(ends)} in {time.monotonic() - began:.0f} s; killed {dict(Counter(kind for kind, _ in storm.kills))}"
    )
    print(f"watcher: {watcher.looks} looks, at most {watcher.most} GPUs in use, no clash")


def _check(storm: Storm, job: str) -> str:
    """That one job ended as it must; how it ended, and in which attempt."""
    service = storm.service
    done, hits = service.job(job), storm.hits(job)
    state, told = done["state"], (job, done["state"], done["failure"], hits)
    assert state in ("succeeded", "failed"), told
    if state == "failed":
        killed = EXPLAINS.get(done["failure"]["code"])
        assert killed, told
        # A job on a server that was kept alive is hit by what hits its owner.
        assert hits[killed] >= (3 if killed == "runner" else 1) or done["deployment"], told
    else:
        assert done["results"][0]["answered"] == SAMPLES, told
        _check_answers(service, job, done["attempt"], done["gateway"]["replayed"])
    events = service.events(job)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), told
    assert [event.model_dump() for event in service.folder(job).events()] == events, told
    return f"{state} {done['failure']['code']}" if state == "failed" else f"succeeded at attempt {done['attempt']}"


def _check_answers(service: Running, job: str, attempt: int, replayed: int) -> None:
    """Nothing that is in the journal was asked again: it is there once, and the last attempt had it from there."""
    records = list(read_records(service.folder(job).journal))
    keys = [record["key"] for record in records]
    assert len(keys) == len(set(keys)) == SAMPLES
    began = next(event["time"] for event in service.events(job) if event["attempt"] == attempt > 0)
    moment = datetime.fromisoformat(began).timestamp()
    assert replayed == sum(record["time"] < moment for record in records)


def _left(service: Running) -> list[str]:
    """Processes that were started below this home, whatever they are."""
    found = []
    for pid in shim.process_ids():
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"ORCHESTRATOR_HOME={service.home}".encode() in environ or str(service.home) in command:
            found.append(command)
    return found
