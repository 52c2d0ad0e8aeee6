"""The report of a job as Markdown: `report.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clients.fidelity import Fidelity
from orchestrator.record import JobRecord
from orchestrator.reporting.identity_rows import identity_rows
from orchestrator.results import DatasetResult, Sample
from orchestrator.speed_report import speed_section

SHOWN_FAILURES = 20
SHOWN_LIMITS = 20


def markdown(record: JobRecord, samples: Sequence[Sample], plots: Sequence[str] = ()) -> str:
    """The report as Markdown; `plots` are paths of pictures relative to it."""
    parts = [
        f"# {record.name}: {record.state}\n",
        *_failure(record),
        *_scores(record.results),
        *_notes(record.notes),
        *speed_section(record.speed, plots),
        *_phases(record),
        *_served(record),
        *_fingerprint(record),
        *_in_flight(record.gateway.get("limiter")),
        *_fidelity(record.fidelity),
        *_unanswered(samples),
        *_teardown(record),
    ]
    return "\n".join(parts) + "\n"


def score_cell(result: DatasetResult) -> str:
    """`84.0 [78.3, 88.4]`, or why there is no number."""
    if result.score is None:
        return "no score"
    if result.interval is None:
        return f"{result.score:.2f}"
    low, high = result.interval
    return f"{result.score:.2f} [{low:.1f}, {high:.1f}]"


def requests_line(gateway: Mapping[str, Any]) -> str:
    """`asked 200, answered 200, failed 0, retried 0; 12.5 requests/s`."""
    counts = ", ".join(f"{name} {gateway[name]}" for name in ("asked", "answered", "failed", "retried", "replayed"))
    causes = ", ".join(f"{cause} {count}" for cause, count in gateway["failed_by_cause"].items())
    first, last = gateway["first_answer"], gateway["last_answer"]
    rate = f"; {(gateway['answered'] - 1) / (last - first):.1f} requests/s" if first and last > first else ""
    limited = gateway.get("honesty", {}).get("client_limited")
    invalid = " (INVALID as the engine's speed: the gateway was the limit)" if rate and limited else ""
    return f"{counts}{f' ({causes})' if causes else ''}{rate}{invalid}"


def _failure(record: JobRecord) -> list[str]:
    if record.failure is None:
        return []
    failure = record.failure
    parts = [f"**{failure.code}**: {failure.message}\n", *([f"{failure.hint}\n"] if failure.hint else [])]
    if failure.log_tail:
        parts.append(f"Last lines of `{failure.log}`:\n\n```\n{failure.log_tail}\n```\n")
    if failure.command:
        parts.append(f"To repeat it by hand:\n\n```\n{failure.command}\n```\n")
    return parts


def _scores(results: Sequence[DatasetResult]) -> list[str]:
    if not results:
        return []
    head = "| data set | metric | asked | answered | failed | coverage | score [95% interval] |"
    rows = [
        f"| {result.dataset} | {result.metric} | {result.asked} | {result.answered} | {result.failed} "
        f"| {result.coverage:.3f} | {score_cell(result)} |"
        for result in results
    ]
    notes = [f"- {result.dataset}: {note}" for result in results for note in result.notes]
    return ["## Scores\n", head, "|---|---|---:|---:|---:|---:|---:|", *rows, "", *notes, ""]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes\n", *(f"- {note}" for note in notes), ""] if notes else []


def _phases(record: JobRecord) -> list[str]:
    rows = [f"| {phase} | {seconds:.2f} |" for phase, seconds in record.times.items()]
    return ["## Time per phase\n", "| phase | seconds |", "|---|---:|", *rows, ""]


def _served(record: JobRecord) -> list[str]:
    if not record.resources:
        return []
    commands = [" ".join(replica["argv"]) for replica in record.resources["replicas"]]
    listing = "\n".join(commands) or str(record.resources["external"])
    restarted = [f"{one['name']} {one['restarts']}" for one in record.resources["replicas"] if one.get("restarts")]
    restarts = [f"Started again after a loss: {', '.join(restarted)}.\n"] if restarted else []
    made = _made(record.resources.get("compress"))
    gateway = f"Gateway: {requests_line(record.gateway)}\n"
    return ["## What served\n", f"```\n{listing}\n```\n", *made, gateway, *restarts]


def _fingerprint(record: JobRecord) -> list[str]:
    rows = [f"| {name} | {value.replace('|', '/')} |" for name, value in identity_rows(record.fingerprint)]
    return ["## Serving fingerprint\n", "| what | value |", "|---|---|", *rows, ""] if rows else []


def _made(compress: Mapping[str, Any] | None) -> list[str]:
    """Which model the served one was made of."""
    if compress is None:
        return []
    how = " ".join(str(part) for part in (compress["tool"], compress["version"], compress["scheme"]) if part)
    sizes = f"{compress['bytes_before']} bytes before, {compress['bytes_after']} after"
    when = "made before" if compress["cached"] else f"made in {compress['seconds']:.1f} s"
    return [f"The model is compressed: `{compress['source']}` by {how}, {when}; {sizes}.\n"]


def _in_flight(limiter: Mapping[str, Any] | None) -> list[str]:
    """How the number of requests in flight was found; nothing where it was fixed."""
    if limiter is None:
        return []
    history = limiter["history"]
    rows = [f"| {seconds:.1f} | {limit} | {reason} |" for seconds, limit, reason in history[-SHOWN_LIMITS:]]
    left_out = len(history) - len(rows)
    return [
        f"## Requests in flight: {limiter['limit']}\n",
        *([f"The first {left_out} changes are left out here; the record has them.\n"] if left_out else []),
        "| seconds | limit | why |",
        "|---:|---:|---|",
        *rows,
        "",
    ]


def _fidelity(checked: Fidelity | None) -> list[str]:
    if checked is None:
        return []
    rows = [f"| {one.name} | {one.verdict} | {one.fact.replace('|', '/')} | {one.advice} |" for one in checked.findings]
    return [
        f"## Fidelity ({checked.seconds:.1f} s)\n",
        "| check | verdict | fact | advice |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _unanswered(samples: Sequence[Sample]) -> list[str]:
    failed = [sample for sample in samples if sample.failed]
    if not failed:
        return []
    rows = [f"- {sample.dataset} #{sample.index}: {sample.failed}" for sample in failed[:SHOWN_FAILURES]]
    if len(failed) > SHOWN_FAILURES:
        rows.append(f"- ... and {len(failed) - SHOWN_FAILURES} more in `samples.jsonl`")
    return ["## Samples without an answer (not scored)\n", *rows, ""]


def _teardown(record: JobRecord) -> list[str]:
    proof = record.teardown
    if proof is None:
        return []
    verdict = "clean" if proof.clean else "NOT CLEAN"
    return [
        "## Teardown\n",
        f"{verdict}: {proof.processes} processes ended, survivors {proof.survivors or 'none'}, "
        f"ports {', '.join(f'{port} {state}' for port, state in proof.ports.items())}, "
        f"GPU memory {'given back' if proof.gpu_memory else 'not used'}, {proof.seconds:.2f} s.",
    ]
