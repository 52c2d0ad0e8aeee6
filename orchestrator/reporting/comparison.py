"""A comparison as a page, as one document and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from markupsafe import Markup

from orchestrator.comparing.model import Comparison, Flip, VariantResult
from orchestrator.comparing.report import HEAD, METHODS, notes, reasons, rows
from orchestrator.comparing.speed_tables import METHODS_OF_SPEEDS, speed_notes, speed_tables
from orchestrator.plots import Chart, svg_of
from orchestrator.plots.compared import compared_charts
from orchestrator.reporting.page import rendered
from orchestrator.reporting.shown import shortened

_TONES = {"GO": "good", "NO-GO": "bad", "INCONCLUSIVE": "doubtful", "succeeded": "good", "cancelled": "doubtful"}
SHOWN_FLIPS = 200


def comparison_page(comparison: Comparison, flips: Sequence[Flip]) -> str:
    """The whole HTML document: as self-contained and as careful with what models wrote as that of a job."""
    verdict = comparison.verdict or comparison.state
    shown = [(flip, shortened(flip.prompt), _texts(flip)) for flip in flips[:SHOWN_FLIPS]]
    return rendered(
        "comparison.html.j2",
        comparison=comparison,
        verdict=verdict,
        tone=_TONES.get(verdict, "plain"),
        head=HEAD,
        rows=rows(comparison),
        methods=METHODS,
        speeds=speed_tables(comparison),
        speed_charts=[Markup(svg_of(chart)) for chart in _charts(comparison)],
        speed_methods=METHODS_OF_SPEEDS,
        speed_notes=speed_notes(comparison),
        reasons=reasons(comparison),
        notes=notes(comparison),
        findings=[(one.name, _not_ok(one)) for one in comparison.variants if one.fidelity],
        flips=shown,
        total_flips=len(flips),
    )


def comparison_csv(comparison: Comparison) -> str:
    """The table of the report, cell by cell; below it, after an empty line each, the tables of speeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(rows(comparison))
    for _, head, lines in speed_tables(comparison):
        writer.writerows(([], head, *lines))
    return text.getvalue()


def read_flips(path: Path) -> list[Flip]:
    """The flipped answers; none where none were written."""
    if not path.is_file():
        return []
    with path.open() as lines:
        return [Flip.model_validate_json(line) for line in lines]


def _charts(comparison: Comparison) -> list[Chart]:
    """Of every measurement, with a line per variant."""
    every = zip_longest(*(one.measured for one in comparison.variants))
    names = [one.name for one in comparison.variants]
    together = ({name: one for name, one in zip(names, row, strict=True) if one} for row in every)
    return [chart for results in together for chart in compared_charts(results)]


def _texts(flip: Flip) -> tuple[str, str]:
    return shortened(flip.baseline_output or ""), shortened(flip.variant_output or "")


def _not_ok(variant: VariantResult) -> list[object]:
    findings = variant.fidelity.findings if variant.fidelity else ()
    return [finding for finding in findings if finding.verdict != "ok"]
