"""The scheduler: what starts now, what is stopped for it, and why the rest waits."""

from __future__ import annotations

from itertools import islice

from orchestrator.scheduling.outcome import settle
from orchestrator.scheduling.reasons import reason
from orchestrator.scheduling.snapshot import Decision, Snapshot

REASONS = 100
"""Jobs of the front of the queue for which a decision says why they wait; `explain` does for the rest."""


def decide(snapshot: Snapshot) -> Decision:
    """What to do at this moment. A pure function; it does not depend on the order of the snapshot's tuples.

    Jobs start by priority, then by order of submission. The first that does not fit is the head: others start past it
    where it starts no later for them (see reservation). A job whose `serve_key` a ready server has uses that server.
    Idle servers are stopped when the job whose turn it is fits by that; it starts in a later decision, when they are
    gone, and its GPUs are set aside until then.
    """
    outcome = settle(snapshot)
    waiting = (job for job in outcome.queue if job.id not in outcome.draft.started)
    why = {job.id: reason(outcome, job) for job in islice(waiting, REASONS)}
    return Decision(tuple(outcome.draft.starts), tuple(outcome.draft.evicted), why)


def explain(snapshot: Snapshot, job_id: str) -> str:
    """Why this job waits, one sentence. Raises: KeyError when it is not in the queue."""
    outcome = settle(snapshot)
    job = {job.id: job for job in outcome.queue}[job_id]
    return "it starts now" if job.id in outcome.draft.started else reason(outcome, job)
