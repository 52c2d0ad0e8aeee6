"""A comparison for people: the table, the flipped answers, the findings side by side, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from clients.fidelity.report import ORDER
from orchestrator.comparing.differences import LEVEL
from orchestrator.comparing.model import Comparison, Difference, Flip, Speed, VariantResult
from orchestrator.comparing.speed_tables import METHODS_OF_SPEEDS, speed_notes, speed_tables
from orchestrator.report import score_cell
from orchestrator.results import DatasetResult

SHOWN_FLIPS = 10
"""Flipped answers per variant in the report; all are in `flips.jsonl`."""
SHOWN_CHARACTERS = 1200
"""Of one prompt or output."""
SHOWN_FACT = 200
"""Characters of a finding; the jobs' reports have all."""
HEAD = (
    *("variant", "data set and metric", "score [95% interval]", "answered", "inference s", "speed-up", "total s"),
    *("difference [interval]", "p", "equal outputs", "verdict"),
)
METHODS = """\
Differences are points, variant less baseline, over the samples that both answered to the same prompt. Interval: Tango's
score interval. p: exact McNemar, two-sided, corrected for all tests of this table (Holm). Inference: seconds in which
an engine had at least one request, as the gateway saw it; speed-up: the baseline's by the variant's, with * where a
note below says why it is not the engine's alone."""
METHODS_OF_VALUES = """\
Metrics that are no share of right answers: paired bootstrap interval, p by random flips of signs."""


def markdown(comparison: Comparison, flips: Sequence[Flip]) -> str:
    """The report."""
    parts = [
        f"# {comparison.name}: {comparison.verdict or comparison.state}\n",
        *_table(HEAD, rows(comparison)),
        METHODS,
        *([METHODS_OF_VALUES] if any(row.test == "sign flips" for row in _differences(comparison)) else []),
        "",
        *_speeds(comparison),
        *_listed("## The gate\n", reasons(comparison)),
        *_listed("## To be read with the table\n", notes(comparison)),
        *_fidelity(comparison),
        *_flips(comparison, flips),
        *_jobs(comparison),
    ]
    return "\n".join(parts) + "\n"


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table's cells under `HEAD`: one row per variant and data set."""
    return [row for variant in comparison.variants for row in _rows(variant, comparison)]


def reasons(comparison: Comparison) -> list[str]:
    """Why the gate says what it says; nothing without one."""
    return [
        f"{variant.name}: {variant.verdict}: {reason}"
        for variant in comparison.variants
        for reason in variant.reasons
        if variant.verdict
    ]


def notes(comparison: Comparison) -> list[str]:
    """What falsifies or limits a figure of the table."""
    found = []
    for variant in comparison.variants:
        if variant.failure:
            found.append(f"{variant.name}: {variant.state}: {variant.failure.code}: {variant.failure.message}")
        found += [f"{variant.name}: {note}" for note in [*variant.notes, *variant.speed.notes]]
        for row in variant.differences:
            found += [f"{variant.name}, {row.dataset}: {note}" for note in row.notes]
            if row.samples_to_decide and not row.verdict:
                told = f"about {row.samples_to_decide} samples would show whether such a difference is real"
                found.append(f"{variant.name}, {row.dataset}: {told}")
    return found


def _rows(variant: VariantResult, comparison: Comparison) -> Iterator[tuple[str, ...]]:
    if not variant.results:
        yield (variant.name, *[""] * (len(HEAD) - 2), variant.verdict or variant.state)
    differences = list(variant.differences)
    speed = variant.speed
    timed = (_seconds(speed.inference), _times(speed), _seconds(speed.total))
    for index, result in enumerate(variant.results):
        row = _next_of(result, differences)
        shown = (variant.name, timed) if index == 0 else ("", ("", "", ""))
        found = (_difference(row), _p(row), _equal(row), _verdict(variant, row, comparison))
        yield (shown[0], f"{result.dataset} {result.metric}", score_cell(result), _answered(result), *shown[1], *found)


def _next_of(result: DatasetResult, differences: list[Difference]) -> Difference | None:
    """The first that is left of this result; a data set may have been evaluated more than once."""
    wanted = result.evaluator, result.dataset, result.metric
    for index, row in enumerate(differences):
        if (row.evaluator, row.dataset, row.metric) == wanted:
            return differences.pop(index)
    return None


def _answered(result: DatasetResult) -> str:
    return f"{result.answered}/{result.asked}"


def _seconds(seconds: float | None) -> str:
    return "-" if not seconds else f"{seconds:.1f}"


def _times(speed: Speed) -> str:
    """With a star where a note says why it is not the engine's."""
    return "-" if speed.speed_up is None else f"{speed.speed_up:.2f}{'*' if speed.notes else ''}"


def _difference(row: Difference | None) -> str:
    if row is None or row.difference is None:
        return "-"
    if row.interval is None:
        return f"{row.difference:+.2f}"
    return f"{row.difference:+.2f} [{row.interval[0]:+.1f}, {row.interval[1]:+.1f}]"


def _p(row: Difference | None) -> str:
    if row is None or row.p_adjusted is None:
        return "-"
    return f"{row.p_adjusted:.3f}" if row.p_adjusted >= 0.001 else f"{row.p_adjusted:.1e}"


def _equal(row: Difference | None) -> str:
    return f"{row.equal_outputs}/{row.pairs}" if row and row.pairs else "-"


def _verdict(variant: VariantResult, row: Difference | None, comparison: Comparison) -> str:
    if variant.name == comparison.baseline:
        return "baseline"
    if row is None or row.verdict:
        return row.verdict or "" if row else "nothing to compare with"
    if row.p_adjusted is None:
        return "no test"
    if row.p_adjusted >= LEVEL:
        return "no difference found"
    return "lower" if (row.difference or 0) < 0 else "higher"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = "|".join("---" for _ in head)
    cells = [" | ".join(cell.replace("|", "/") for cell in line) for line in lines]
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {line} |" for line in cells), ""]


def _speeds(comparison: Comparison) -> list[str]:
    parts = [
        line for title, head, lines in speed_tables(comparison) for line in (f"## {title}\n", *_table(head, lines))
    ]
    remarks = [f"- {remark}" for remark in speed_notes(comparison)]
    return [*parts, METHODS_OF_SPEEDS, "", *remarks, ""] if parts else []


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"- {line}" for line in lines), ""] if lines else []


def _fidelity(comparison: Comparison) -> list[str]:
    """The findings of all, one line per check; then what was seen where it is not `ok`."""
    found = {
        variant.name: {finding.name: finding for finding in variant.fidelity.findings}
        for variant in comparison.variants
        if variant.fidelity
    }
    checks = [check for check in ORDER if any(check in findings for findings in found.values())]
    if not checks:
        return []
    verdicts = [
        (check, *(str(own[check].verdict) if check in own else "-" for own in found.values())) for check in checks
    ]
    seen: dict[str, list[str]] = {}
    for check in checks:
        for name, own in found.items():
            if check in own and own[check].verdict != "ok":
                seen.setdefault(f"{check}: {own[check].fact[:SHOWN_FACT]}", []).append(name)
    facts = [f"{fact} ({'all' if len(names) == len(found) else ', '.join(names)})" for fact, names in seen.items()]
    return ["## Fidelity of each engine\n", *_table(("check", *found), verdicts), *_listed("Not `ok`:\n", facts)]


def _flips(comparison: Comparison, flips: Sequence[Flip]) -> list[str]:
    parts = []
    for variant in comparison.variants:
        own = [flip for flip in flips if flip.variant == variant.name]
        if not own:
            continue
        lost = sum(flip.change == "lost" for flip in own)
        counts = f"{lost} lost, {len(own) - lost} won"
        parts.append(f"## Flipped answers of {variant.name}: {counts}\n")
        parts += [_flip(flip, comparison.baseline) for flip in own[:SHOWN_FLIPS]]
        if len(own) > SHOWN_FLIPS:
            parts.append(f"... and {len(own) - SHOWN_FLIPS} more in `flips.jsonl`\n")
    return parts


def _flip(flip: Flip, baseline: str) -> str:
    texts = {
        "asked": flip.prompt,
        f"{baseline}, taken as {flip.baseline_prediction!r}": flip.baseline_output or "",
        f"{flip.variant}, taken as {flip.variant_prediction!r}": flip.variant_output or "",
        "gold": flip.gold or "",
    }
    return "\n".join(
        [f"### {flip.dataset} #{flip.index}: {flip.change}\n", *(_fenced(*text) for text in texts.items())]
    )


def _fenced(title: str, text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} [...]"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", cut)), default=0))
    return f"{title}:\n\n{fence}\n{cut}\n{fence}\n"


def _jobs(comparison: Comparison) -> list[str]:
    lines = [
        (variant.name, variant.engine, variant.state, variant.job or "-", str(variant.speed.completion_tokens or "-"))
        for variant in comparison.variants
    ]
    return ["## Jobs\n", *_table(("variant", "engine", "state", "job", "tokens generated"), lines)]


def _differences(comparison: Comparison) -> list[Difference]:
    return [row for variant in comparison.variants for row in variant.differences]
