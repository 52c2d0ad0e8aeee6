"""What is the same question in two runs, and what is not."""

from __future__ import annotations

from orchestrator.comparing.joining import groups_of, join
from tests.orchestrator.comparing.support import result, sample, verdicts


def test_samples_are_joined_by_data_set_place_and_prompt_whatever_their_order() -> None:
    first = verdicts(True, False, True)
    joined = join(first, reversed(first))[("rows", 0)]
    assert joined.pairs == [(one, one) for one in first]
    assert len(joined.pairs) == joined.asked


def test_another_prompt_at_the_same_place_is_no_pair() -> None:
    second = [sample(0, True), sample(1, True, prompt="another question")]
    joined = join(verdicts(True, True), second)[("rows", 0)]
    assert (len(joined.pairs), joined.prompts_differ, joined.asked) == (1, 1, 2)


def test_a_sample_that_one_did_not_answer_is_no_pair() -> None:
    second = [sample(0, True), sample(1, None, failed="http_500", output=None)]
    joined = join(verdicts(True, True), second)[("rows", 0)]
    assert (len(joined.pairs), joined.unanswered) == (1, 1)


def test_a_sample_that_only_one_was_asked_is_counted() -> None:
    for first, second in ((3, 2), (2, 3)):
        joined = join(verdicts(*[True] * first), verdicts(*[True] * second))[("rows", 0)]
        assert (len(joined.pairs), joined.alone, joined.asked) == (2, 1, 3)


def test_a_data_set_that_was_evaluated_twice_is_joined_evaluation_by_evaluation() -> None:
    twice = [*verdicts(True, True), *verdicts(False, False)]
    joined = join(twice, twice)
    assert [one.correct for one, _ in joined["rows", 0].pairs] == [True, True]
    assert [one.correct for one, _ in joined["rows", 1].pairs] == [False, False]


def test_metrics_of_one_evaluation_share_their_samples_and_another_evaluator_has_its_own() -> None:
    rows = verdicts(True)
    results = [
        result(rows),
        result(rows, metric="f1"),
        result(rows),
        result(rows, evaluator="other"),
        result(rows, dataset="more", evaluator="other"),
    ]
    assert groups_of(results) == [("rows", 0), ("rows", 0), ("rows", 1), ("rows", 2), ("more", 0)]
