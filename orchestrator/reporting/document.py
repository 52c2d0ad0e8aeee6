"""A finished job for programs: one document, flat metrics, flat parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.reporting.identity_rows import identity_rows
from orchestrator.reporting.job import FinishedJob
from orchestrator.results import DatasetResult
from orchestrator.speed import SpeedResult

_COUNTS = ("asked", "answered", "failed", "retried", "replayed", "prompt_tokens", "completion_tokens")
_NOT_IN_NAMES = re.compile(r"[^\w. /-]")


def results_document(job: FinishedJob) -> dict[str, Any]:
    """What `results.json` holds: the scores with all that they depend on, without samples and logs."""
    kept = {"id", "name", "state", "attempt", "labels", "created_at", "finished_at", "times", "failure", "results"}
    kept |= {"speed", "fingerprint", "fidelity", "teardown", "resumed_from"}
    document = job.record.model_dump(mode="json", include=kept)
    finishes = dict(job.traffic.finishes)
    counts = {name: job.record.gateway[name] for name in _COUNTS if name in job.record.gateway}
    return {**document, "requests": {**counts, "finish_reasons": finishes, "cut_share": job.traffic.cut_share}}


def metrics_of(job: FinishedJob) -> dict[str, float]:
    """Name -> number: each score with asked, answered, failed, coverage and its interval; speeds; seconds per phase.

    Names hold letters, digits and `_ . / -` only.
    """
    pairs = [*_scores(job.record.results), *_speeds(job.record.speed)]
    pairs += [(f"seconds/{phase}", seconds) for phase, seconds in job.record.times.items()]
    pairs += [(f"requests/{name}", float(job.record.gateway[name])) for name in _COUNTS if name in job.record.gateway]
    if (share := job.traffic.cut_share) is not None:
        pairs.append(("requests/cut_share", share))
    return {_named(name): value for name, value in pairs}


def parameters_of(job: FinishedJob) -> dict[str, str]:
    """Name -> text: the serving fingerprint, and what was evaluated."""
    record = job.record
    evaluated = {
        f"evaluate {number} {field}": str(value)
        for number, one in enumerate(record.spec["evaluate"])
        for field, value in one.items()
    }
    own = {"job": record.id, "name": record.name, "state": record.state.value}
    return {
        _named(name): value for name, value in {**own, **dict(identity_rows(record.fingerprint)), **evaluated}.items()
    }


def _scores(results: list[DatasetResult]) -> Iterator[tuple[str, float]]:
    for result in results:
        name = f"{result.dataset}/{result.metric}"
        if result.score is not None:
            yield name, result.score
        if result.interval:
            yield f"{name}/low", result.interval[0]
            yield f"{name}/high", result.interval[1]
        yield f"{name}/asked", float(result.asked)
        yield f"{name}/answered", float(result.answered)
        yield f"{name}/failed", float(result.failed)
        yield f"{name}/coverage", result.coverage


def _speeds(results: list[SpeedResult]) -> Iterator[tuple[str, float]]:
    """Only what counts as the engine's speed."""
    for result in results:
        for row in result.context:
            if row.speed is not None and not row.invalid:
                yield f"speed/context {row.context}/tokens per second", row.speed
        for one in result.throughput:
            if not one.invalid:
                name = f"speed/throughput {one.input} in {one.output:g} out"
                yield f"{name}/requests per second", one.requests_per_second
                yield f"{name}/output tokens per second", one.output_tokens_per_second
        for point in result.load:
            if not point.invalid:
                name = f"speed/{point.by} {point.offered:g}"
                yield f"{name}/requests per second", point.requests_per_second
                yield f"{name}/output tokens per second", point.output_tokens_per_second
                if point.ttft:
                    yield f"{name}/first token p50", point.ttft.p50


def _named(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)
