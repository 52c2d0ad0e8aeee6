"""What a run of OpenCompass left behind, data set by data set, checked: its exit code means nothing."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.opencompass.progress import read_status
from orchestrator.evaluators.opencompass.resolved import read_resolved

_JUDGE = "GenericLLMEvaluator"
_GRADE = re.compile("[ABC]")  # C, where it is offered: not attempted
_CORRECT_KEYS = ("correct", "is_correct", "cascade_correct")
_PREDICTION_KEYS = ("parsed", "pred", "predictions", "prediction")
_GOLD_KEYS = ("answer", "references", "reference", "refr", "gold")


@dataclass(frozen=True, slots=True)
class Detail:
    """What the evaluator says of one answer."""

    prediction: str | None = None
    gold: str | None = None
    correct: bool | None = None
    unjudged: bool = False
    """A judge model was to say whether it is right, and did not; `correct` is False, as OpenCompass counts it."""


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


@dataclass(frozen=True, slots=True)
class Broken:
    """A data set without a whole result."""

    name: str
    reason: str


def run_of(out: Path) -> Path:
    """The one run under `out`.

    Raises: EvaluatorFailed when OpenCompass died before it began.
    """
    runs = sorted(path.parent for path in out.glob("*/configs"))
    if not runs:
        raise EvaluatorFailed("OpenCompass ended before it had read its config")
    return runs[-1]


def read_run(run: Path, work: Path, limit: int | None) -> Iterator[DatasetFiles | Broken]:
    """Every data set of the run, whole or broken, in the order of the config; `work` was its current folder."""
    config = config_of(run)
    model = config["models"][0]["abbr"]
    versions = {row["dataset"]: row["version"] for row in summary_of(run) if row.get("version", "-") != "-"}
    unscored = _unscored(work)
    for dataset in config["datasets"]:
        name = dataset["abbr"]
        repeats, scorer = dataset.get("n", 1), _scorer(dataset)
        status = read_status(run / "infer_status" / model / f"{name}.json")
        try:
            predictions = _predictions(run / "predictions" / model, name, status, limit)
            results = _json(run / "results" / model / f"{name}.json", "results")
            metrics = _metrics(results)
            details = _details(results.get("details"), len(predictions), repeats, judged=scorer == _JUDGE)
        except _Unusable as reason:
            yield Broken(name, str(reason))
        else:
            found = _judged(details, metrics)
            yield DatasetFiles(name, repeats, predictions, metrics, found, versions.get(name), scorer, unscored)


def config_of(run: Path) -> dict[str, Any]:
    """The config of a run as OpenCompass resolved it. Raises: OSError, SyntaxError, ValueError."""
    return read_resolved(max((run / "configs").glob("*.py")))


def summary_of(run: Path) -> list[dict[str, str]]:
    """Rows of its summary table: `dataset`, `version`, `metric`, `mode` and one column for the model."""
    file = next(iter(sorted((run / "summary").glob("summary_*.csv"))), None)
    if file is None:
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


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


def _details(raw: Any, count: int, repeats: int, *, judged: bool) -> list[Detail]:
    """One detail per prediction; none when their number does not fit, since then nothing says which is which."""
    if isinstance(raw, dict):
        raw = [raw[key] for key in sorted((key for key in raw if key.isdecimal()), key=int)]
    if not isinstance(raw, list) or len(raw) * repeats != count:
        return []
    details = [_detail(raw[index % len(raw)], index // len(raw)) for index in range(count)]
    return [_by_judge(detail) for detail in details] if judged else details


def _by_judge(detail: Detail) -> Detail:
    """The verdict out of the judge's words, as OpenCompass reads them: the first A or B."""
    if detail.correct is not None and detail.prediction is None:
        return detail
    grade = _GRADE.search(detail.prediction or "")
    return replace(detail, correct=grade is not None and grade[0] == "A", unjudged=grade is None)


def _judged(details: list[Detail], metrics: dict[str, float]) -> list[Detail]:
    """Details with a verdict each, where the evaluator gives none but only compares prediction and gold.

    That it does (`AccEvaluator`, behind most multiple choice) is proved by the sum: it must give its own number.
    """
    if any(detail.correct is not None or None in (detail.prediction, detail.gold) for detail in details):
        return details
    compared = [replace(detail, correct=detail.prediction == detail.gold) for detail in details]
    share = 100 * sum(detail.correct is True for detail in compared) / max(1, len(compared))
    proved = any(abs(metrics.get(name, -1.0) - share) < 1e-6 for name in ("accuracy", "score", "exact_match"))
    return compared if proved else details


def _detail(entry: Any, repeat: int) -> Detail:
    """OpenCompass keeps a list per field, one value for each time that the question was asked."""
    if not isinstance(entry, dict):
        return Detail()
    correct = _field(entry, _CORRECT_KEYS, repeat)
    prediction, gold = (_field(entry, keys, repeat) for keys in (_PREDICTION_KEYS, _GOLD_KEYS))
    return Detail(
        None if prediction is None else str(prediction),
        None if gold is None else str(gold),
        bool(correct) if correct in (True, False, 0, 1) else None,
    )


def _field(entry: dict[str, Any], names: tuple[str, ...], repeat: int) -> Any:
    value = next((entry[name] for name in names if name in entry), None)
    if isinstance(value, list):
        return value[repeat] if repeat < len(value) else None
    return value
