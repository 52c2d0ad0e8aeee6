"""A finished job as one side of a comparison: its record, its samples, how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

import orjson

from orchestrator.comparing.model import Mode, Speed
from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord
from orchestrator.reporting.job import read_samples
from orchestrator.results import Sample

Span = tuple[float, float]
"""From and to, in seconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One job of a comparison that is over."""

    name: str
    """Of the variant."""
    record: JobRecord
    samples: tuple[Sample, ...]
    busy: float | None
    """Seconds in which an engine had at least one request; None when it had none, or nobody wrote them down."""


def read_run(name: str, folder: Path) -> Run:
    """The job in `folder`. Raises: OrchestratorError when another version wrote it."""
    job = JobFolder(folder)
    record = job.read()
    busy = busy_seconds(job.requests, _measuring(job))
    return Run(name, record, tuple(read_samples(folder / "samples.jsonl")), busy)


def busy_seconds(requests: Path, without: Sequence[Span] = ()) -> float | None:
    """Of the file of requests: the time in which at least one was at an engine.

    Waiting for a replica, at the start for the engine itself, is none of it; nor are the pauses of evaluators, nor
    requests that came in `without`.
    """
    if not requests.is_file():
        return None
    with requests.open("rb") as lines:
        rows = (orjson.loads(line) for line in lines)
        asked = (row for row in rows if _asked(row) and not any(begin <= row["time"] < end for begin, end in without))
        spans = sorted((row["time"] + row["queue_wait"], row["time"] + row["total"]) for row in asked)
    busy, until = 0.0, 0.0
    for begin, end in spans:
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy if spans else None


def speed_of(run: Run, mode: Mode) -> Speed:
    """Its times, without any speed-up yet."""
    gateway = run.record.gateway
    return Speed(
        inference=round(run.busy, 3) if run.busy else None,
        total=round(sum(run.record.times.values()), 3),
        answers=gateway.get("answered", 0),
        replayed=gateway.get("replayed", 0),
        completion_tokens=gateway.get("completion_tokens", 0),
        notes=_doubts(run, mode),
    )


def against(speed: Speed, baseline: Speed) -> Speed:
    """With its speed-ups; none where a time is not the engine's."""
    if speed.replayed or baseline.replayed:
        return speed
    quicker = {"speed_up": _ratio(baseline.inference, speed.inference)}
    return speed.model_copy(update={**quicker, "total_speed_up": _ratio(baseline.total, speed.total)})


def _doubts(run: Run, mode: Mode) -> list[str]:
    gateway = run.record.gateway
    doubts = []
    if replayed := gateway.get("replayed", 0):
        doubts.append(f"{replayed} answers came from an earlier job's journal, so there is no speed to tell")
    if gateway.get("honesty", {}).get("client_limited"):
        doubts.append("the gateway was the limit: not the engine's speed")
    if mode == "side_by_side":
        doubts.append("measured while the others ran on the same machine")
    return doubts


def _ratio(baseline: float | None, own: float | None) -> float | None:
    return baseline / own if baseline and own else None


def _measuring(job: JobFolder) -> list[Span]:
    """When evaluator `speed` was at work: its requests take as long as they are many, not as the engine is slow.

    Evaluators work one after the other, each from its own start to that of the next.
    """
    starts = [event for event in job.events() if "command" in event.data and event.message.endswith(" starts")]
    begins = [_seconds(event.time) for event in starts]
    spans = zip(starts, begins, [*begins[1:], inf], strict=False)
    return [(begin, end) for event, begin, end in spans if event.message.startswith("speed-")]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _asked(row: dict[str, Any]) -> bool:
    """Whether an engine was asked at all."""
    return not row["replayed"] and row["attempts"] > 0
