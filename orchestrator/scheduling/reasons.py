"""Why a job still waits, for people."""

from __future__ import annotations

from orchestrator.scheduling.draft import could_fit
from orchestrator.scheduling.gpu_sets import gpu_set, members
from orchestrator.scheduling.holders import UNKNOWN
from orchestrator.scheduling.outcome import Head, Outcome
from orchestrator.scheduling.snapshot import Waiting

GPUS_NAMED = 8
"""GPUs named one by one in a sentence."""


def reason(outcome: Outcome, job: Waiting) -> str:
    """One sentence about a job that does not start now."""
    draft = outcome.draft
    if job.not_before > draft.now:
        return f"its next attempt starts in {_duration(job.not_before - draft.now)} at the earliest"
    if not could_fit(job, draft.inventory):
        return _never(outcome, job)
    if not could_fit(job, draft.reach):
        return f"{_held_or_few(outcome, job)}; it starts when a deployment is deleted"
    if job.id in draft.aside:
        return "an idle server is being stopped to give it its GPUs"
    if outcome.head is None:
        return f"as many jobs run as may run side by side ({outcome.snapshot.max_running})"
    if job is outcome.head.job:
        return f"next in line: {_shortage(outcome, outcome.head)}{_expected(outcome.head, draft.now)}"
    return _behind(outcome, outcome.head, job)


def _never(outcome: Outcome, job: Waiting) -> str:
    inventory = outcome.draft.inventory
    if job.explicit is None:
        return f"it can never start here: it needs {_gpus(job.gpus)} and there are {inventory.bit_count()}"
    missing = gpu_set(job.explicit) & ~inventory
    return f"it can never start here: it needs {_named(missing)}, which the inventory does not have"


def _held_or_few(outcome: Outcome, job: Waiting) -> str:
    if job.explicit is not None:
        return f"it needs {_named(gpu_set(job.explicit))}; {_held(outcome, job)}"
    return f"it needs {_gpus(job.gpus)} and deployments leave {outcome.draft.reach.bit_count()}"


def _shortage(outcome: Outcome, head: Head) -> str:
    if head.job.explicit is None:
        return f"it needs {_gpus(head.job.gpus)} and {_free(head.free)}"
    return f"it needs {_named(gpu_set(head.job.explicit))}; {_held(outcome, head.job)}"


def _expected(head: Head, now: float) -> str:
    start = head.reservation.start
    return "" if start == UNKNOWN else f"; expected to start in {_duration(start - now)}"


def _behind(outcome: Outcome, head: Head, job: Waiting) -> str:
    draft = outcome.draft
    if draft.places < 2 and (not job.gpus or draft.choose(job, draft.free)):
        return f"the last of {outcome.snapshot.max_running} places is kept for {head.job.id}, which is next"
    if job.explicit is not None and (held := _held(outcome, job)):
        return f"it needs {_named(gpu_set(job.explicit))}; {held}"
    if job.gpus > draft.free.bit_count():
        return f"it needs {_gpus(job.gpus)} and {_free(draft.free)}; {head.job.id} is next"
    return f"what is free is kept for {head.job.id}, which is next and would start later otherwise"


def _held(outcome: Outcome, job: Waiting) -> str:
    """Who holds the GPUs that a job asks for, now; empty where nobody does."""
    wanted = gpu_set(job.explicit or ())
    holds = [(holder.gpus & wanted, holder.name) for holder in outcome.draft.holders if holder.gpus & wanted]
    return ", ".join(f"{_named(gpus)} held by {name}" for gpus, name in sorted(holds))


def _free(gpus: int) -> str:
    count = gpus.bit_count()
    return f"{count or 'none'} {'are' if count > 1 else 'is'} free"


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


def _named(gpus: int) -> str:
    numbers = members(gpus)
    more = f" and {len(numbers) - GPUS_NAMED} more" if len(numbers) > GPUS_NAMED else ""
    return f"GPU{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers[:GPUS_NAMED]))}{more}"


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
