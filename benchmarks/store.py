"""The store under 10,000 jobs: submission, pages, the queue, a runner's report.

Beside it the naive way, on the same disk in the same run: one SQLite file as it comes (rollback journal), one row with
one JSON document per job and its events in it, pages by OFFSET, filters in Python. Figures are milliseconds; a ratio
above 1 says how many times faster ours is.

    python benchmarks/store.py [--jobs N] [--url postgresql://...]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.record import Event, State
from orchestrator.store import Store
from orchestrator.store.rows import JobFilter, NewJob

FILL = {"text": "x" * 4000}  # a record of an ordinary job
ALONE = 200  # jobs submitted one after the other; the others by so many threads:
THREADS = 16
RARE = 97  # one job in so many has the rare label


def document(number: int) -> dict[str, Any]:
    labels = {"rare": str(number % RARE == 0), "run": str(number)}
    return {"id": f"job-{number}", "state": "queued", "labels": labels, "spec": FILL, "record": FILL, "events": []}


def event(seq: int, state: State) -> Event:
    time_ = "2026-01-01T00:00:00.000+00:00"
    return Event(seq=seq, time=time_, attempt=1, type="state", state=state, phase=state.value, message="as it goes")


class Ours:
    def __init__(self, url: str) -> None:
        self.store = Store.open(url)

    def add(self, number: int) -> None:
        told = document(number)
        new = NewJob(
            id=told["id"],
            name="name",
            engine="vllm",
            spec=told["spec"],
            record=told["record"],
            folder="f",
            created_at=0.0,
            labels=told["labels"],
        )
        self.store.add_job(new, None, event(1, State.QUEUED))

    def page(self, before: int | None, rare: bool = False) -> int:
        return len(self.store.jobs(JobFilter(before=before, labels={"rare": "True"} if rare else {})))

    def queue(self) -> int:
        return len(self.store.queued())

    def begin(self, job_id: str) -> None:
        self.store.begin_attempt(job_id, job_id, "local", "hash", ())

    def report(self, job_id: str, seq: int) -> None:
        self.store.report(job_id, 1, [event(seq, State.EVALUATING)], FILL)


class Naive:
    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path)
        self.database.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT UNIQUE, document TEXT)")

    def add(self, number: int) -> None:
        told = document(number)
        self.database.execute("INSERT INTO jobs (id, document) VALUES (?, ?)", (told["id"], json.dumps(told)))
        self.database.commit()

    def fill(self, first: int, last: int) -> None:
        """The rest, in one go: its times are not measured."""
        rows = ((told["id"], json.dumps(told)) for told in map(document, range(first, last)))
        self.database.executemany("INSERT INTO jobs (id, document) VALUES (?, ?)", rows)
        self.database.commit()

    def page(self, offset: int, rare: bool = False) -> int:
        if not rare:
            query = "SELECT document FROM jobs ORDER BY number DESC LIMIT 50 OFFSET ?"
            return len([json.loads(row[0]) for row in self.database.execute(query, (offset,))])
        every = (json.loads(row[0]) for row in self.database.execute("SELECT document FROM jobs ORDER BY number DESC"))
        return len([job for job in every if job["labels"]["rare"] == "True"][:50])

    def queue(self) -> int:
        every = (json.loads(row[0]) for row in self.database.execute("SELECT document FROM jobs"))
        return len(sorted((job for job in every if job["state"] == "queued"), key=lambda job: job["id"]))

    def begin(self, job_id: str) -> None:
        """Nothing to write down."""

    def report(self, job_id: str, seq: int) -> None:
        [text] = self.database.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone()
        told = json.loads(text)
        told["events"].append(event(seq, State.EVALUATING).model_dump(mode="json"))
        self.database.execute("UPDATE jobs SET document = ? WHERE id = ?", (json.dumps(told), job_id))
        self.database.commit()


def timed(call: Callable[[int], object], times: int) -> list[float]:
    """Milliseconds of each call."""
    spent = []
    for turn in range(times):
        began = time.perf_counter()
        call(turn)
        spent.append((time.perf_counter() - began) * 1e3)
    return spent


def together(ours: Ours, first: int, last: int) -> list[float]:
    """Milliseconds per job when many submit at once, for each hundred."""
    spent = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(first, last, 100):
            began = time.perf_counter()
            list(pool.map(ours.add, range(start, start + 100)))
            spent.append((time.perf_counter() - began) * 10)
    return spent


def show(what: str, ours: list[float], naive: list[float]) -> None:
    p50, p99 = statistics.median(ours), statistics.quantiles(ours, n=100)[98]
    ratio = statistics.median(naive) / p50
    print(f"{what:<38}{p50:>9.2f}{p99:>9.2f}{statistics.median(naive):>12.2f}{ratio:>9.1f}x", flush=True)


def measure(ours: Ours, naive: Naive, jobs: int) -> None:
    print(f"{'':<38}{'p50':>9}{'p99':>9}{'naive p50':>12}{'ratio':>10}")
    alone = timed(ours.add, ALONE)
    many = together(ours, ALONE, ALONE + jobs)
    naive_added = timed(naive.add, ALONE)
    naive.fill(ALONE, ALONE + jobs)
    show(f"submit a job ({1e3 / statistics.mean(alone):.0f} a second)", alone, naive_added)
    show(f"the same, {THREADS} at once ({1e3 / statistics.mean(many):.0f} a second)", many, naive_added)
    middle = jobs // 2
    show("page of 50, newest", timed(lambda _: ours.page(None), 300), timed(lambda _: naive.page(0), 100))
    show("page of 50, in the middle", timed(lambda _: ours.page(middle), 300), timed(lambda _: naive.page(middle), 50))
    rare = timed(lambda _: ours.page(None, rare=True), 300)
    show(f"page of a label (1 in {RARE})", rare, timed(lambda _: naive.page(0, rare=True), 5))
    show("the whole queue", timed(lambda _: ours.queue(), 10), timed(lambda _: naive.queue(), 5))
    for side in (ours, naive):
        side.begin("job-1")
    reported = timed(lambda turn: ours.report("job-1", turn + 2), 500)
    show("a report: event, record, heartbeat", reported, timed(lambda turn: naive.report("job-1", turn + 2), 500))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--url", help="default: SQLite in a folder that is removed afterwards")
    given = parser.parse_args()
    for jobs in sorted({200, given.jobs}):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
            print(f"{jobs} jobs, {'SQLite' if given.url is None else 'PostgreSQL'}")
            ours = Ours(given.url or f"sqlite:///{name}/store.db")
            measure(ours, Naive(Path(name) / "naive.db"), jobs)
            ours.store.close()
        if given.url:
            break  # a second round would find the jobs of the first


if __name__ == "__main__":
    main()
