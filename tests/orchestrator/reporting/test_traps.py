"""Traps as pure functions: what is told, at which share, and what is not."""

from __future__ import annotations

import pytest

from orchestrator.reporting.pictures import histogram, interval_bar, phase_bar, steps
from orchestrator.reporting.shown import CHARACTERS, SHOWN, choose, row_of
from orchestrator.reporting.traffic import Traffic
from orchestrator.reporting.traps import Trap, traps_in, traps_of_requests
from orchestrator.results import Sample


def sample(index: int, output: str | None, **more: object) -> Sample:
    known = {"prompt": "?", "gold": "1", "prediction": "1", "correct": True, **more}
    return Sample.model_validate({"dataset": "d", "index": index, "output": output, **known})


def named(traps: list[Trap]) -> dict[str, Trap]:
    return {trap.name: trap for trap in traps}


@pytest.mark.parametrize(("cut", "warns"), [(1, False), (2, True)])
def test_cut_answers_are_told_and_above_one_percent_warned_of(cut: int, warns: bool) -> None:
    samples = [sample(index, "text", cut=index < cut) for index in range(100)]
    trap = named(traps_in(samples))["cut"]
    assert (trap.share, trap.warns) == (cut / 100, warns)
    assert trap.note.startswith("WARNING") is warns
    of_requests = traps_of_requests(Traffic(finishes={"length": cut, "stop": 100 - cut}))
    assert (of_requests[0].share, of_requests[0].warns) == (cut / 100, warns)


def test_clean_answers_fall_into_no_trap() -> None:
    assert traps_in([sample(index, "The answer is 1") for index in range(10)], stop=["\n\n"]) == []
    assert traps_of_requests(Traffic(finishes={"stop": 10})) == []
    assert traps_of_requests(Traffic()) == []
    assert traps_in([sample(0, None, failed="http_500", correct=None)]) == []


def test_a_stop_string_within_an_answer_was_ignored() -> None:
    trap = named(traps_in([sample(0, "1\n\nQuestion: and"), sample(1, "1")], stop=["\n\nQuestion"]))["stop_ignored"]
    assert (trap.share, trap.warns) == (0.5, True)


def test_thinking_left_in_an_answer_is_found_by_its_end_alone() -> None:
    assert named(traps_in([sample(0, "so it is 1</think>1")]))["think"].share == 1.0


def test_answers_without_anything_to_compare_are_told_only_where_the_evaluator_says_what_it_takes() -> None:
    wrong = sample(0, "no idea", prediction=None, correct=False)
    assert named(traps_in([wrong, sample(1, "1")]))["nothing_found"].share == 0.5
    assert traps_in([wrong]) == []


def test_a_page_shows_every_kind_of_sample_and_never_too_many() -> None:
    samples = [sample(index, "right") for index in range(5000)]
    samples += [sample(5000 + index, "wrong", correct=False) for index in range(500)]
    samples += [sample(5500, None, correct=None, failed="http_500")]
    shown = choose(samples)
    assert len(shown) == SHOWN
    assert sum(one.correct is False for one in shown) == 100
    assert any(one.failed for one in shown)
    assert shown == sorted(shown, key=lambda one: one.index)
    assert len(row_of(sample(0, "x" * 10 * CHARACTERS)).output) < 1.1 * CHARACTERS


def test_pictures_escape_what_they_are_told_and_are_empty_without_figures() -> None:
    assert "<b>" not in steps([(0.0, 1.0, "<b>"), (2.0, 2.0, "&")], "t")
    assert phase_bar({}) == histogram([], "t") == steps([], "t") == interval_bar(None, None) == ""
    assert interval_bar(1234.5, None) == ""
    assert 'aria-label="50.00, 95% interval 40.0 to 60.0"' in interval_bar(50.0, (40.0, 60.0))
    assert histogram([0.0, 0.0], "t").count("<rect") == 32
