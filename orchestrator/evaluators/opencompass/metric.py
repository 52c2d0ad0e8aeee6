"""Which of an evaluator's numbers is the score, and whether it is the one that was to be expected."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.evaluators.opencompass.reading import DatasetFiles

# OpenCompass's own order of precedence (`METRIC_WHITELIST` of its default summarizer).
_METRICS = (
    *("score", "auc_score", "accuracy", "humaneval_pass@1", "rouge1", "avg_toxicity_score"),
    *("bleurt_diff", "matthews_correlation", "truth", "f1", "exact_match"),
)
_NOT_METRICS = ("bp", "sys_len", "ref_len", "type")  # its METRIC_BLACKLIST
_SCORERS = {
    **dict.fromkeys(("AccEvaluator", "AccwithDetailsEvaluator", "Gsm8kEvaluator", "MATHEvaluator"), "accuracy"),
    **dict.fromkeys(("MATHVerifyEvaluator", "GenericLLMEvaluator", "CascadeEvaluator"), "accuracy"),
    **dict.fromkeys(("EMEvaluator", "TriviaQAEvaluator", "NQEvaluator", "BleuEvaluator", "MBPPEvaluator"), "score"),
    **dict.fromkeys(("RougeEvaluator", "JiebaRougeEvaluator"), "rouge1"),
    "HumanEvalEvaluator": "humaneval_pass@1",
    "AUCROCEvaluator": "auc_score",
}
"""What the evaluators behind most configs call their score; OpenCompass 0.5.4."""


def metric_of(files: DatasetFiles) -> str:
    """Key in `files.metrics`: what the summarizer names, else what OpenCompass would show first."""
    names = [name for name in files.metrics if name not in _NOT_METRICS]
    return min(names or files.metrics, key=lambda name: (plain(name) != files.named, _rank(plain(name))))


def plain(metric: str) -> str:
    """`accuracy (4 runs average)` is still the accuracy."""
    return metric.split(" (", 1)[0] if metric.endswith(" runs average)") else metric


def metric_notes(files: DatasetFiles) -> Iterator[str]:
    """Says which metric was expected where another one is the score, and what the score is where its name does not."""
    published, expected = plain(metric_of(files)), files.named or _SCORERS.get(files.scorer)
    if expected and expected != published:
        who = "the summarizer names" if files.named else f"{files.scorer} is known for"
        yield (
            f"WARNING: another metric than expected: {who} `{expected}`, which the results do not hold; the score is "
            f"`{published}` and compares with no `{expected}`"
        )
    if published == "score" and files.scorer and not any(detail.correct is not None for detail in files.details):
        yield f"`score` is whatever {files.scorer} calls so: it does not tell which answers are right"


def _rank(name: str) -> int:
    return _METRICS.index(name) if name in _METRICS else len(_METRICS)
