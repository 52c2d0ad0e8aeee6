"""What a speed result says to people: cells that the terminal and the report share, and the report's Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.speed import ContextSpeed, LoadSpeed, Memory, Percentiles, SpeedResult, ThroughputSpeed

KINDS = {
    "gpu_process": "GPU memory of the serving processes",
    "gpu_device": "all GPU memory in use (the driver does not tell it per process)",
    "resident": "resident memory of the process tree",
}
CONTEXT = ("context length", "generated", "speed tokens/s", "after first token", "first token s", "memory MB")
THROUGHPUT = ("prompts", "in", "out", "seed", "seconds", "requests/s", "output tokens/s", "total tokens/s", "memory MB")
LOAD = ("load", "requests/s", "output tokens/s", "first token s", "between tokens ms", "latency s", "goodput", "note")

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""Title, head, rows."""
SpeedRow = ContextSpeed | ThroughputSpeed | LoadSpeed


def speed_tables(result: SpeedResult) -> list[Table]:
    """The tables of a result, those without rows left out."""
    tables: list[Table] = [
        (f"Speed by context length{memory_kind(result.context)}", CONTEXT, [cells_of(row) for row in result.context]),
        ("Throughput, all prompts at once", THROUGHPUT, [cells_of(row) for row in result.throughput]),
        ("Load: p50 / p90 / p99", LOAD, [cells_of(row) for row in result.load]),
    ]
    return [table for table in tables if table[2]]


def cells_of(row: SpeedRow) -> tuple[str, ...]:
    """A row of one of the tables, under its head."""
    match row:
        case ContextSpeed():
            return _context(row)
        case ThroughputSpeed():
            return _throughput(row)
        case LoadSpeed():
            return _load(row)


def memory_kind(rows: Sequence[ContextSpeed]) -> str:
    """What the memory of these rows is, for a title; empty where none was looked at."""
    kinds = {row.memory.kind for row in rows if row.memory}
    return f" (memory: {', '.join(KINDS[kind] for kind in sorted(kinds))})" if kinds else ""


def speed_remarks(result: SpeedResult) -> list[str]:
    """What must stand below the tables: invalid figures first."""
    rows = [*_named(result)]
    invalid = [f"INVALID as the engine's speed, {name}: {'; '.join(row.invalid)}" for name, row in rows if row.invalid]
    skipped = [f"not measured: {reason}" for reason in result.skipped]
    return [*invalid, *skipped, *result.notes, _how(result)]


def speed_section(results: Sequence[SpeedResult], plots: Sequence[str] = ()) -> list[str]:
    """The part of the report; `plots` are paths of pictures relative to it."""
    parts: list[str] = []
    for result in results:
        for title, head, rows in speed_tables(result):
            lines = [f"| {' | '.join(row)} |" for row in rows]
            parts += [f"## {title}\n", f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}", *lines, ""]
        parts += [*(f"- {remark}" for remark in speed_remarks(result)), ""]
    return [*parts, *(f"![{path}]({path})" for path in plots), *([""] if plots else [])]


def _named(result: SpeedResult) -> list[tuple[str, SpeedRow]]:
    return [
        *((f"context {row.context}", row) for row in result.context),
        *(("throughput", row) for row in result.throughput),
        *((f"{row.by} {row.offered:g}", row) for row in result.load),
    ]


def _context(row: ContextSpeed) -> tuple[str, ...]:
    counted = "" if row.prompt_tokens in (row.context, None) else f" (counted {row.prompt_tokens})"
    generated = f"{row.generated:g}"
    return (
        f"{row.context}{counted}",
        generated,
        _marked(row.speed, row.invalid),
        _number(row.decode),
        _number(row.ttft, 4),
        _megabytes(row.memory),
    )


def _throughput(row: ThroughputSpeed) -> tuple[str, ...]:
    return (
        str(row.prompts),
        str(row.input),
        f"{row.output:g}",
        str(row.seed),
        f"{row.seconds:.2f}",
        _marked(row.requests_per_second, row.invalid),
        _number(row.output_tokens_per_second),
        _number(row.total_tokens_per_second),
        _megabytes(row.memory),
    )


def _load(row: LoadSpeed) -> tuple[str, ...]:
    offered = f"{row.offered:g} in flight" if row.by == "concurrency" else f"{row.offered:g}/s arrive"
    goodput = "-" if row.goodput is None or row.good is None else f"{row.goodput:.2f}/s ({row.good:.0%})"
    failed = f"{row.failed} of {row.asked} failed" if row.failed else ""
    return (
        offered,
        _marked(row.requests_per_second, row.invalid),
        _number(row.output_tokens_per_second),
        _three(row.ttft),
        _three(row.inter_token, 1000),
        _three(row.latency),
        goodput,
        ", ".join(filter(None, ("saturated" if row.saturated else "", failed))),
    )


def _how(result: SpeedResult) -> str:
    tokenizer = "the model's tokenizer" if result.tokenizer else "the engine's counts"
    by = {row.counted_by for row in result.context}
    counted = f"; tokens counted by {', '.join(sorted(by))}" if by else ""
    full = f"full length by {result.full_length}" if result.full_length else "answers end where they end"
    lag, cpu = result.client.get("lag_p99", 0.0), result.client.get("cpu", 0.0)
    client = f"our client: {cpu:.0%} of a core, event loop late by {1000 * lag:.1f} ms at p99"
    before = f"load average before {result.machine_load}"
    return "; ".join((f"prompts by {tokenizer}, seed {result.seed}", f"{full}{counted}", client, before))


def _marked(value: float | None, invalid: Sequence[str]) -> str:
    return f"{_number(value)}{' (invalid)' if invalid else ''}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _megabytes(memory: Memory | None) -> str:
    return "-" if memory is None else f"{memory.bytes / 1e6:.0f}"


def _three(times: Percentiles | None, scale: float = 1.0) -> str:
    if times is None:
        return "-"
    return " / ".join(f"{scale * value:.3g}" for value in (times.p50, times.p90, times.p99))
