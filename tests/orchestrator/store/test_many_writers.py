"""Many at once, and writers that are killed in the middle."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import LeaseTaken
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import Idempotency
from tests.orchestrator.store.support import add, begin, check, event, new_job, run

WRITER = Path(__file__).parent / "writer.py"
ROOT = Path(__file__).parents[3]


def in_threads(work: Callable[[int], None], threads: int = 8) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, number) for number in range(threads)]:
            done.result(60)


def test_threads_and_two_connections_to_one_store_never_hold_a_gpu_at_once(store: Store, url: str) -> None:
    other = Store.open(url)
    holders: Counter[int] = Counter()
    guard = threading.Lock()
    refused: list[str] = []

    def work(number: int) -> None:
        mine = (store, other)[number % 2]
        chance = random.Random(number)
        for turn in range(5):
            job_id = add(mine, f"{number}-{turn}").id
            gpus = chance.sample(range(3), 2)
            try:
                begin(mine, job_id, gpus)
            except LeaseTaken:
                refused.append(job_id)
                continue
            with guard:
                holders.update(gpus)
                assert max(holders.values()) == 1
            mine.report(job_id, 1, run(2, [State.STARTING, State.PROBING]), {"last": 3})
            with guard:
                holders.subtract(gpus)
            mine.report(job_id, 1, run(4, [State.STOPPING, State.SUCCEEDED]), {"last": 5, "state": "succeeded"})

    in_threads(work)
    other.close()
    assert refused, "nobody ever wanted the same GPU: the test shows nothing"
    assert check(store) == 40
    assert {job.id for job in store.queued()} == set(refused)


def test_the_same_key_from_many_threads_makes_one_job(store: Store) -> None:
    key = Idempotency("ci", "k", "h")
    made: list[tuple[str, bool]] = []

    def submit(number: int) -> None:
        job, created = store.add_job(new_job(f"job-of-{number}"), key, event(1))
        made.append((job.id, created))

    in_threads(submit)
    assert len({job_id for job_id, _ in made}) == 1
    assert sum(created for _, created in made) == 1
    assert check(store) == 1


def test_a_report_sent_by_two_at_once_is_kept_once(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    events = run(2, [State.EVALUATING] * 20)
    in_threads(lambda number: store.report("a", 1, events[: 1 + number * 2], None) and None)
    assert [one.seq for one in store.events("a")] == list(range(1, 17))


def test_a_reader_never_sees_half_a_transaction(store: Store) -> None:
    add(store, "a")
    begin(store, "a")
    over = threading.Event()
    torn: list[tuple[int, int]] = []

    def read() -> None:
        while not over.is_set():
            job = store.job("a")
            assert job is not None
            if job.record["last"] != job.last_seq:
                torn.append((job.record["last"], job.last_seq))

    reader = threading.Thread(target=read)
    reader.start()
    for seq in range(2, 102):
        store.report("a", 1, [event(seq, State.EVALUATING, 1)], {"last": seq})
    over.set()
    reader.join(30)
    assert torn == []


@pytest.mark.slow
def test_of_a_writer_killed_at_any_moment_all_that_it_was_told_is_there_and_nothing_is_half(url: str) -> None:
    chance = random.Random(7)
    told: dict[str, int] = {}
    for turn in range(3):
        told |= killed_writer(url, f"w{turn}", after=chance.randrange(10, 60))
        store = Store.open(url, exclusive=True)
        for job, attempt in store.active():  # what the dead one left open, as recovery does
            store.requeue(job.id, attempt.number, 0.0, event(job.last_seq + 1))
            store.request_cancel(job.id)
            end = event(job.last_seq + 2, State.CANCELLED)
            store.append_event(job.id, end, {"last": end.seq, "state": "cancelled"})
        found = {job_id: store.job(job_id) for job_id in told}
        assert all(job and job.last_seq >= told[job_id] for job_id, job in found.items())
        check(store)
        assert store.leases() == {}
        store.close()


def killed_writer(url: str, name: str, after: int) -> dict[str, int]:
    """What a writer said was on disk, by job, until it was killed some moments after `after` lines."""
    command = [sys.executable, str(WRITER), url, name]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {job_id: int(seq) for job_id, seq in whole}
