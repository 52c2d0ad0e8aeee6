"""The report of a job as one page: no file beside it, no script in it, nothing that it loads.

What models and engines wrote is hostile: the template escapes all of it, and the page's own policy allows nothing but
its one style sheet, known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from orchestrator.plots import speed_charts, svg_of
from orchestrator.record import JobRecord, State
from orchestrator.reporting.identity_rows import identity_rows
from orchestrator.reporting.job import Commands
from orchestrator.reporting.markdown import requests_line, score_cell
from orchestrator.reporting.pictures import histogram, interval_bar, phase_bar, steps
from orchestrator.reporting.shown import choose, row_of
from orchestrator.reporting.traffic import Traffic
from orchestrator.results import Sample
from orchestrator.speed_report import speed_remarks, speed_tables

_HERE = Path(__file__).parent
_TONES = {State.SUCCEEDED: "good", State.INCOMPLETE: "doubtful", State.FAILED: "bad", State.CANCELLED: "doubtful"}


def job_page(record: JobRecord, samples: Sequence[Sample], traffic: Traffic, commands: Commands) -> str:
    """The whole HTML document."""
    return rendered(
        "job.html.j2",
        record=record,
        tone=_TONES.get(record.state, "plain"),
        scores=[_score(result) for result in record.results],
        phases=_svg(phase_bar(record.times)),
        requests=requests_line(record.gateway) if record.gateway else "",
        pictures=_pictures(record, traffic),
        speeds=[_speed(result) for result in record.speed],
        identity=identity_rows(record.fingerprint),
        samples=[row_of(sample) for sample in choose(samples)],
        counts=_counts(samples),
        commands=commands,
        spec=yaml.safe_dump(record.spec, sort_keys=False, allow_unicode=True),
    )


def rendered(template: str, **values: Any) -> str:
    """A page of this package; every value is escaped unless it is markup that was drawn here."""
    # Read at every page: a job has one, and a template that is kept would be state.
    loader = jinja2.FileSystemLoader(_HERE / "pages")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = (_HERE / "pages" / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(style=Markup(style), style_hash=digest, **values)


def _score(result: Any) -> dict[str, Any]:
    bar = _svg(interval_bar(result.score, result.interval))
    return {"result": result, "cell": score_cell(result), "bar": bar}


def _pictures(record: JobRecord, traffic: Traffic) -> list[Markup]:
    limiter = record.gateway.get("limiter")
    history = limiter["history"] if limiter else []
    drawn = (
        histogram(traffic.first_tokens, "Time to first token"),
        histogram(traffic.latencies, "Latency of a request"),
        steps(history, "Requests in flight, as they were found") if len(history) > 1 else "",
    )
    return [_svg(picture) for picture in drawn if picture]


def _speed(result: Any) -> dict[str, Any]:
    charts = [_svg(svg_of(chart)) for chart in speed_charts(result)]
    return {"tables": speed_tables(result), "remarks": speed_remarks(result), "charts": charts}


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "all": len(samples),
        "wrong": sum(sample.correct is False for sample in samples),
        "failed": sum(sample.failed is not None for sample in samples),
        "cut": sum(sample.cut for sample in samples),
    }


def _svg(picture: str) -> Markup:
    """Drawn here, with every text in it escaped."""
    return Markup(picture)
