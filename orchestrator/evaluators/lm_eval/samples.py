"""What became of each question: which answers are none, and each sample as the result model has it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.marks import failure_id_of
from orchestrator.evaluators.lm_eval.reading import TaskFiles
from orchestrator.results import Sample

EMPTY_ANSWER = "empty_answer"
"""The engine answered with nothing, which lm-eval would score."""
NO_SCORES = "no_scores"
"""The engine gave no log-probabilities of the prompt: lm-eval would take them for 0 and score by chance."""
IMPOSSIBLE = "impossible"
"""The engine gave a text the log-probability minus infinity: it computed wrong, or cannot write it in JSON."""


@dataclass(frozen=True, slots=True)
class Grade:
    """What the metric says of one sample: right or wrong, or a number in the unit of the score, or nothing."""

    correct: bool | None = None
    value: float | None = None


def failures_of(files: TaskFiles, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Of each sample why it has no answer: the id of the failed request where it is known."""
    marks = [next(filter(None, map(failure_id_of, _texts(row["resps"]))), None) for row in rows]
    if files.config.get("output_type") == "generate_until":
        return [mark or _empty(row) for mark, row in zip(marks, rows, strict=True)]
    scores = [[_score(answer) for answer in _answers(row)] for row in rows]
    finite = [score for own in scores for score in own if math.isfinite(score)]
    other = NO_SCORES if finite and not any(finite) else None
    return [mark or (IMPOSSIBLE if -math.inf in own else other) for mark, own in zip(marks, scores, strict=True)]


def grades_of(values: Sequence[float]) -> list[Grade]:
    """The metric's values, one a sample, as what they mean: right or wrong where all are 0 or 1; shares in percent."""
    if set(values) <= {0, 1}:
        return [Grade(correct=value == 1) for value in values]
    scale = 100 if all(0 <= value <= 1 for value in values) else 1
    return [Grade(value=scale * value) for value in values]


def sample_of(files: TaskFiles, row: Mapping[str, Any], failed: str | None, grade: Grade) -> Sample:
    """One question. Of scored choices the output lists each with its log-probability, and gold is the right one."""
    arguments = [row["arguments"][f"gen_args_{index}"] for index in range(len(row["arguments"]))]
    choices = [str(one["arg_1"]) for one in arguments if isinstance(one.get("arg_1"), str)]
    output, prediction = _said(row, choices)
    gold = str(row["target"])
    return Sample(
        dataset=files.name,
        index=int(row["doc_id"]),
        prompt=_prompt(arguments[0]["arg_0"]),
        output=None if failed else output,
        gold=choices[int(gold)] if gold.isdigit() and int(gold) < len(choices) else gold,
        prediction=None if failed else prediction,
        correct=None if failed else grade.correct,
        value=None if failed else grade.value,
        failed=failed,
    )


def _empty(row: Mapping[str, Any]) -> str | None:
    texts = list(_texts(row["resps"]))
    return None if texts and all(text.strip() for text in texts) else EMPTY_ANSWER


def _texts(responses: Any) -> Iterator[str]:
    """The answers to one question: several requests, each asked `repeats` times."""
    if isinstance(responses, str):
        yield responses
    elif isinstance(responses, list):
        for one in responses:
            yield from _texts(one)


def _answers(row: Mapping[str, Any]) -> list[Any]:
    """Of each request its last answer: (log-probability, whether greedy decoding would give it), or the first alone."""
    return [responses[-1] for responses in row["resps"]]


def _score(answer: Any) -> float:
    """The log-probability of an answer; NaN for a mark, and where a task's own code kept something else."""
    try:
        return float(answer[0] if isinstance(answer, list) else answer)
    except ValueError:
        return math.nan


def _said(row: Mapping[str, Any], choices: Sequence[str]) -> tuple[str, str | None]:
    """The answer as text, and what lm-eval made of it: of several choices the likeliest."""
    answers = _answers(row)
    if not choices:
        return "\n".join(_texts(row["resps"])), "\n".join(_texts(row["filtered_resps"])) or None
    likely = [_score(answer) for answer in answers]
    lines = [f"{number:.4f} {json.dumps(choice)}" for number, choice in zip(likely, choices, strict=False)]
    return "\n".join(lines), choices[likely.index(max(likely))] if len(choices) > 1 else None


def _prompt(argument: Any) -> str:
    """Chat turns, which lm-eval keeps as JSON, as `ROLE: text` lines."""
    text = argument[0] if isinstance(argument, list) and argument else argument
    try:
        turns = json.loads(text) if isinstance(argument, list) else None
    except ValueError:
        turns = None
    if not isinstance(turns, list):
        return str(text)
    return "\n".join(f"{turn.get('role', '?')}: {turn.get('content', '')}" for turn in turns)
