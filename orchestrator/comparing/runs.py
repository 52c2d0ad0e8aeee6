"""A finished job as one side of a comparison: its record, its samples, how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from orchestrator.comparing.model import Mode, Speed
from orchestrator.job_folder import JobFolder
from orchestrator.record import JobRecord
from orchestrator.results import Sample


@dataclass(frozen=True, slots=True)
class Run:
    """One job of a comparison that is over."""

    name: str
    """Of the variant."""
    record: JobRecord
    samples: tuple[Sample, ...]
    served_from: float | None
    """Unix time of the first request that an engine was given; None when there was none."""


def read_run(name: str, folder: Path) -> Run:
    """The job in `folder`. Raises: OrchestratorError when another version wrote it."""
    job = JobFolder(folder)
    return Run(name, job.read(), tuple(_samples(folder / "samples.jsonl")), _served_from(job.requests))


def speed_of(run: Run, mode: Mode) -> Speed:
    """Its times, without any speed-up yet."""
    gateway = run.record.gateway
    first, last = run.served_from or gateway.get("first_answer"), gateway.get("last_answer")
    return Speed(
        inference=round(last - first, 3) if first and last and last > first else None,
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


def _samples(path: Path) -> list[Sample]:
    if not path.is_file():
        return []
    with path.open() as lines:
        return [Sample.model_validate_json(line) for line in lines]


def _served_from(requests: Path) -> float | None:
    """Waiting for a replica, at the start for the engine itself, is none of the inference."""
    if not requests.is_file():
        return None
    with requests.open("rb") as lines:
        rows = (orjson.loads(line) for line in lines)
        return min((row["time"] + row["queue_wait"] for row in rows if not row["replayed"]), default=None)
