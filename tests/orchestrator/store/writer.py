"""Writes jobs into a store without end, and says what is on disk: `python writer.py URL NAME`; killed by its test."""

from __future__ import annotations

import itertools
import random
import sys

from orchestrator.errors import LeaseTaken
from orchestrator.record import State
from orchestrator.store import Store
from orchestrator.store.rows import AttemptState
from tests.orchestrator.store.support import begin, event, new_job, run


def main(url: str, name: str) -> None:
    """One job after the other, some lost and tried again, all reported in pieces."""
    chance = random.Random(name)
    store = Store.open(url)
    for number in itertools.count():
        job_id = f"{name}-{number}"
        labels = {"writer": name, "number": str(number)}
        store.add_job(new_job(job_id, labels=labels, spec={"fill": "x" * 5000}), None, event(1))
        said(job_id, 1)
        try:
            work(store, job_id, chance)
        except LeaseTaken:
            continue


def work(store: Store, job_id: str, chance: random.Random) -> None:
    """Run the job; the first attempt may be lost."""
    attempt = begin(store, job_id, chance.sample(range(8), 2))
    last = 1
    if chance.random() < 0.3:
        store.report(job_id, attempt, run(2, [State.ALLOCATING, State.STARTING]), record(3))
        said(job_id, 3)
        store.close_attempt(job_id, attempt, AttemptState.LOST, "lost", event(4), record=record(4, State.QUEUED))
        last = 4
        attempt = begin(store, job_id, chance.sample(range(8), 1))
    for states in ([State.ALLOCATING, State.STARTING], [State.PROBING, State.EVALUATING], [State.SUCCEEDED]):
        events = run(last + 1, states, attempt)
        last = events[-1].seq
        store.report(job_id, attempt, events, record(last, states[-1]))
        said(job_id, last)


def record(last: int, state: State = State.STARTING) -> dict[str, object]:
    """A record that tells of which event it is."""
    return {"last": last, "state": state.value, "fill": "y" * 5000}


def said(job_id: str, seq: int) -> None:
    """Tell the test what must be there from now on."""
    print(job_id, seq, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
