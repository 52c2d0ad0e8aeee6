from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.evaluators.opencompass.reading import DatasetFiles, Detail
from orchestrator.evaluators.opencompass.scoring import result_of, samples_of
from orchestrator.results import DatasetResult, wilson_interval

MARK = "[[request-failed:7-0a1b2c]]"


def files(
    outputs: list[Any],
    correct: list[bool | None] | None,
    *,
    metrics: dict[str, float] | None = None,
    repeats: int = 1,
) -> DatasetFiles:
    flags = correct or []
    share = 100 * sum(flag is True for flag in flags) / len(flags) if flags else 0.0
    return DatasetFiles(
        name="set",
        repeats=repeats,
        predictions=[
            {"origin_prompt": [{"role": "HUMAN", "prompt": f"q{index}"}], "prediction": output, "gold": "g"}
            for index, output in enumerate(outputs)
        ],
        metrics=metrics or {"accuracy": share},
        details=[Detail("extracted", "g", flag) for flag in flags],
        version="abc123",
    )


def result(given: DatasetFiles) -> DatasetResult:
    return result_of(given, samples_of(given))


def test_without_failures_the_evaluators_own_number_stands() -> None:
    found = result(files(["a", "b", "c"], [True, False, True]))
    assert found.score == pytest.approx(200 / 3)
    assert found.interval == wilson_interval(2, 3)
    assert (found.asked, found.answered, found.failed, found.coverage) == (3, 3, 0, 1.0)
    assert (found.notes, found.prompt_version) == ([], "abc123")


def test_failed_samples_leave_the_score_whether_they_were_counted_wrong_or_right() -> None:
    found = result(files(["a", "b", MARK, "", " \n"], [True, False, False, True, True]))
    assert (found.score, found.interval) == (50.0, wilson_interval(1, 2))
    assert (found.asked, found.answered, found.failed, found.coverage) == (5, 2, 3, 0.4)
    assert "3 failed samples are left out" in found.notes[0]


def test_a_failed_sample_keeps_its_cause_and_loses_what_was_made_of_it() -> None:
    samples = samples_of(files(["a", f"{MARK}", ""], [True, True, True]))
    assert [sample.failed for sample in samples] == [None, "7-0a1b2c", "empty_answer"]
    assert [sample.correct for sample in samples] == [True, None, None]
    assert [sample.output for sample in samples] == ["a", None, None]
    assert samples[0].prompt == "HUMAN: q0"


def test_a_mark_in_one_of_several_turns_fails_the_sample() -> None:
    samples = samples_of(files([["fine", MARK], ["fine", "too"]], [True, True]))
    assert [sample.failed for sample in samples] == ["7-0a1b2c", None]
    assert samples[1].output == "fine\ntoo"


def test_when_nothing_was_answered_there_is_no_score() -> None:
    found = result(files([MARK, ""], [False, False]))
    assert (found.score, found.interval, found.coverage) == (None, None, 0.0)


def test_a_metric_without_flags_has_no_score_once_a_sample_failed() -> None:
    whole = result(files(["a", "b"], None, metrics={"rouge1": 31.5}))
    assert (whole.metric, whole.score, whole.interval, whole.notes) == ("rouge1", 31.5, None, [])
    short = result(files(["a", MARK], None, metrics={"rouge1": 31.5}))
    assert short.score is None
    assert "cannot be computed" in short.notes[0]


def test_a_metric_that_is_not_the_share_of_right_answers_says_so() -> None:
    found = result(files(["a", "b"], [True, False], metrics={"score": 71.0}))
    assert (found.score, found.interval) == (71.0, None)
    assert "50.00%" in found.notes[0]
    assert result(files(["a", MARK], [True, False], metrics={"score": 71.0})).score is None


def test_a_share_of_one_is_given_in_percent() -> None:
    found = result(files(["a", "b"], [True, False], metrics={"accuracy": 0.5}))
    assert (found.score, found.interval) == (50.0, wilson_interval(1, 2))


def test_the_metric_is_the_one_that_opencompass_would_show_first() -> None:
    metrics = {"type": 1.0, "f1": 10.0, "accuracy (2 runs average)": 50.0, "G-Pass@2": 3.0}
    found = result(files(["a", "b"], [True, False], metrics=metrics, repeats=2))
    assert (found.metric, found.score, found.interval) == ("accuracy", 50.0, None)
    assert "asked 2 times" in found.notes[0]


def scored(*perplexities: float) -> dict[str, Any]:
    labels = {
        f"label: {key}": {"prompt": f"text {key}", "PPL": value} for key, value in zip("AB", perplexities, strict=True)
    }
    return {"in-context examples": "", **labels, "prediction": "A", "gold": "A"}


def test_a_sample_with_a_text_that_was_not_scored_fails_with_the_cause_of_the_request() -> None:
    entries = [scored(1.5, 2.0), scored(1.5, math.nan), scored(math.nan, 1.0)]
    given = replace(files([], None), predictions=entries, unscored={"text B": MARK})
    given = replace(given, details=[Detail("A", "A", True)] * 3, metrics={"accuracy": 100.0})
    own = samples_of(given)
    assert [sample.failed for sample in own] == [None, "7-0a1b2c", "no_score"]
    assert (own[0].output, own[0].prompt) == ("A: 1.5\nB: 2", "text A")
    assert (result(given).score, result(given).answered) == (100.0, 1)


def test_a_mean_perplexity_leaves_failed_texts_out() -> None:
    entries = [{"origin_prompt": text, "ppl": value} for text, value in (("a", 2.0), ("b", math.nan), ("c", 4.0))]
    given = replace(files([], None, metrics={"average_ppl": math.nan}), predictions=entries, unscored={"b": MARK})
    found = result(given)
    assert (found.metric, found.score, found.interval, found.failed) == ("average_ppl", 3.0, None, 1)


def test_an_answer_that_its_judge_said_nothing_about_is_not_counted() -> None:
    given = files(["a", "b", "c"], [True, False, False])
    given = replace(given, details=[*given.details[:2], replace(given.details[2], unjudged=True)])
    found = result(given)
    assert [sample.failed for sample in samples_of(given)] == [None, None, "not_judged"]
    assert (found.score, found.failed) == (50.0, 1)
