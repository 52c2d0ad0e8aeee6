"""What a run of OpenCompass left behind, data set by data set, checked: its exit code means nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.opencompass.details import Detail, entries_of, read_details, with_verdicts
from orchestrator.evaluators.opencompass.progress import read_status
from orchestrator.evaluators.opencompass.prompt_version import prompt_version
from orchestrator.evaluators.opencompass.resolved import read_resolved


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The whole of one data set's files."""

    name: str
    repeats: int
    """How often each question was asked; the answers of the first round come first."""
    predictions: list[dict[str, Any]]
    """`origin_prompt`, `prediction` (text, or texts of several turns) and mostly `gold`, in the order of the data."""
    metrics: dict[str, float]
    details: list[Detail]
    """One per prediction, in their order; empty when the evaluator gives none."""
    version: str | None
    """First six hex digits of OpenCompass's hash of the prompt template."""
    scorer: str = ""
    """Class of its evaluator, e.g. `AccEvaluator`."""
    unscored: Mapping[str, str] = field(default_factory=dict)
    """Texts that were to be scored and whose request failed for good: text -> the gateway's mark."""
    named: str | None = None
    """The metric that the run's summarizer names for it; None when it names none."""
    told: int = 0
    """Answers of which the evaluator's details tell; fewer than predictions where it passed some over."""
    cascade: Mapping[str, Any] = field(default_factory=dict)
    """Of a rule followed by a judge (`CascadeEvaluator`): how many answers each of them decided."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A data set without a whole result."""

    name: str
    reason: str


def run_of(out: Path) -> Path:
    """The one run under `out`.

    Raises: EvaluatorFailed when OpenCompass died before it began.
    """
    runs = sorted(path.parent.parent for path in out.glob("*/configs/*.py"))
    if not runs:
        raise EvaluatorFailed("OpenCompass ended before it had read its config")
    return runs[-1]


def read_run(run: Path, work: Path, limit: int | None) -> Iterator[DatasetFiles | Broken]:
    """Every data set of the run, whole or broken, in the order of the config; `work` was its current folder."""
    config = config_of(run)
    model = config["models"][0]["abbr"]
    unscored = _unscored(work)
    for dataset in config["datasets"]:
        name = dataset["abbr"]
        status = read_status(run / "infer_status" / model / f"{name}.json")
        try:
            predictions = _predictions(run / "predictions" / model, name, status, limit)
            results = _json(run / "results" / model / f"{name}.json", "results")
            found = _files(dataset, predictions, results)
        except _Unusable as reason:
            yield Broken(name, str(reason))
        else:
            named = _named(config.get("summarizer"), name, found.metrics)
            yield replace(found, unscored=unscored, named=named)


def config_of(run: Path) -> dict[str, Any]:
    """The config of a run as OpenCompass resolved it. Raises: OSError, SyntaxError."""
    return read_resolved(max((run / "configs").glob("*.py")))


def summary_of(run: Path) -> list[dict[str, str]]:
    """Rows of its summary table: `dataset`, `version`, `metric`, `mode` and one column for the model.

    Only of the data sets and groups that the summarizer lists.
    """
    file = next(iter(sorted((run / "summary").glob("summary_*.csv"))), None)
    if file is None:
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _files(dataset: dict[str, Any], predictions: list[dict[str, Any]], results: dict[str, Any]) -> DatasetFiles:
    repeats, scorer, metrics = dataset.get("n", 1), _scorer(dataset), _metrics(results)
    raw, stats = results.get("details"), results.get("cascade_stats")
    details = read_details(raw, len(predictions), repeats, scorer)
    first = stats[0] if isinstance(stats, list) and len(stats) == 1 else stats  # OpenCompass lists one per repeat
    return DatasetFiles(
        name=dataset["abbr"],
        repeats=repeats,
        predictions=predictions,
        metrics=metrics,
        details=with_verdicts(details, metrics),
        version=prompt_version(dataset),
        scorer=scorer,
        told=len(entries_of(raw)) * repeats,
        cascade=first if isinstance(first, dict) else {},
    )


def _named(summarizer: Any, name: str, metrics: Mapping[str, float]) -> str | None:
    """The first metric of several that is there, else the first."""
    rows = summarizer.get("dataset_abbrs") if isinstance(summarizer, dict) else None
    named = [row[1] for row in rows or [] if isinstance(row, list) and len(row) == 2 and row[0] == name]
    return next((metric for metric in named if metric in metrics), named[0] if named else None)


def _scorer(dataset: dict[str, Any]) -> str:
    evaluator = dataset.get("eval_cfg", {}).get("evaluator", {})
    return str(evaluator.get("type", "")).rsplit(".", 1)[-1] if isinstance(evaluator, dict) else ""


def _unscored(work: Path) -> dict[str, str]:
    file = work / "unscored.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return {row["prompt"]: row["mark"] for row in rows}


class _Unusable(Exception):
    """Files of one data set that do not hold a whole result."""


def _predictions(folder: Path, name: str, status: dict[str, Any], limit: int | None) -> list[dict[str, Any]]:
    file = folder / f"{name}.json"
    if status.get("status") != "done" or (file.parent / f"tmp_{file.stem}.jsonl").exists():
        done, total = status.get("completed") or 0, status.get("total")
        raise _Unusable(f"its questions were not all asked: {done} of {'?' if total is None else total}")
    answers = _json(file, "predictions")
    expected = status.get("total")
    if set(answers) != {str(index) for index in range(len(answers))} or len(answers) != expected:
        raise _Unusable(f"it has {len(answers)} predictions instead of {expected}")
    if limit is not None and len(answers) > limit:
        raise _Unusable(f"it has {len(answers)} predictions although the limit is {limit}")
    return [answers[str(index)] for index in range(len(answers))]


def _metrics(results: dict[str, Any]) -> dict[str, float]:
    if "error" in results:
        raise _Unusable(f"it was not scored: {results['error']}")
    metrics = {
        name: float(value)
        for name, value in results.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if not metrics:
        raise _Unusable("its results hold no number")
    return metrics


def _json(file: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise _Unusable(f"it has no {what} ({file.name} is missing)") from None
    except ValueError as error:
        raise _Unusable(f"its {what} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise _Unusable(f"its {what} are not an object")
    return content
