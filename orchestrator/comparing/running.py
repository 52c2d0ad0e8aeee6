"""Running a comparison: one job per variant, in turn or side by side, through whoever runs jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from orchestrator.comparing.assessing import assess, is_complete, verdict_of
from orchestrator.comparing.folder import ComparisonFolder
from orchestrator.comparing.model import Comparison, Flip, VariantResult
from orchestrator.comparing.plan import Plan, PlannedJob
from orchestrator.comparing.runs import Run, read_run
from orchestrator.record import JobRecord, State, now


class Jobs(Protocol):
    """Who runs jobs: this process, or the service."""

    async def run(self, variant: str, job: PlannedJob) -> JobRecord:
        """Run one to its end; its record in a terminal state, its folder with `samples.jsonl`."""


async def conduct(plan: Plan, folder: ComparisonFolder, jobs: Jobs) -> Comparison:
    """Run what is to be run and compare; what is known so far stands in the folder after every job.

    A job that fails is a variant without a verdict, the others go on; a job that is cancelled ends the comparison.
    """
    earlier = await asyncio.to_thread(folder.read)
    created = earlier.created_at if earlier else now()
    runs = {name: await asyncio.to_thread(read_run, name, Path(path)) for name, path in plan.finished.items()}
    writing = asyncio.Lock()  # of two that end together, the later one writes last

    async def write(*, ended: bool = False) -> Comparison:
        async with writing:
            found, flips = await asyncio.to_thread(compared, plan, folder.id, dict(runs), created=created, ended=ended)
            await asyncio.to_thread(folder.write, found, flips)
            return found

    async def one(name: str) -> None:
        record = await jobs.run(name, plan.jobs[name])
        runs[name] = await asyncio.to_thread(read_run, name, Path(record.folder))
        await write()

    await write()
    if plan.mode == "side_by_side":
        await _at_once([one(name) for name in plan.jobs])
    else:
        for name in plan.jobs:
            await one(name)
            if runs[name].record.state is State.CANCELLED:
                break
    return await write(ended=True)


def compared(
    plan: Plan, comparison_id: str, runs: Mapping[str, Run], *, created: str, ended: bool = False
) -> tuple[Comparison, list[Flip]]:
    """What these runs tell; variants without a run are `queued`. `ended`: no run will follow."""
    found, flips = assess([runs[name] for name in plan.order if name in runs], plan.baseline, plan.gate, plan.mode)
    known = {variant.name: variant for variant in found}
    variants = [known.get(name) or _waiting(name, plan.jobs[name]) for name in plan.order]
    comparison = Comparison(
        id=comparison_id,
        name=plan.name,
        created_at=created,
        mode=plan.mode,
        baseline=plan.baseline,
        gate=plan.gate,
        variants=variants,
    )
    if not ended:
        return comparison, flips
    cancelled = any(one.state in (State.CANCELLED, State.QUEUED) for one in variants if one.name in plan.jobs)
    whole = "succeeded" if is_complete(variants, plan.baseline) else "incomplete"
    ending = {
        "state": "cancelled" if cancelled else whole,
        "finished_at": now(),
        "verdict": verdict_of(variants, plan.baseline) if plan.gate else None,
    }
    return comparison.model_copy(update=ending), flips


def resumed(plan: Plan, found: Comparison | None) -> Plan:
    """The plan of what is left: jobs that succeeded are not run again, others reuse the answers they have got."""
    jobs, finished = dict(plan.jobs), dict(plan.finished)
    for variant in found.variants if found else []:
        if variant.name not in jobs or variant.job is None or variant.folder is None:
            continue
        if variant.state == State.SUCCEEDED:
            del jobs[variant.name]
            finished[variant.name] = variant.folder
        elif (Path(variant.folder) / "journal").is_file():
            jobs[variant.name] = jobs[variant.name].model_copy(update={"resume": variant.job})
    return plan.model_copy(update={"jobs": jobs, "finished": finished})


async def _at_once(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them; the first error is raised as it is, so that both modes end in the same one."""
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job)
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def _waiting(name: str, job: PlannedJob) -> VariantResult:
    serve = job.spec.serve
    return VariantResult(name=name, engine=serve.engine, model=serve.model or serve.url or "")
