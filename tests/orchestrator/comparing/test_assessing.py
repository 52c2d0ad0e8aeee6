"""From finished jobs to differences, verdicts and speed-ups."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clients.fidelity.report import Fidelity, Finding
from orchestrator.comparing.assessing import assess, is_complete, verdict_of
from orchestrator.comparing.gate import Gate
from orchestrator.comparing.model import Comparison, Difference
from orchestrator.comparing.report import markdown
from orchestrator.comparing.runs import Run, busy_seconds
from orchestrator.record import State, now
from orchestrator.results import Sample
from tests.orchestrator.comparing.support import result, run, sample, verdicts


def only(base: Run, other: Run, gate: Gate | None = None) -> Difference:
    """The one difference of two runs."""
    variants, _ = assess([base, other], base.name, gate, "in_turn")
    (row,) = variants[1].differences
    return row


def planted(pairs: int, lost: int, won: int) -> tuple[Run, Run]:
    """A baseline that is right on half of the rest, and a variant that flips so many."""
    rest = [index % 2 == 0 for index in range(pairs - lost - won)]
    baseline = [*[True] * lost, *[False] * won, *rest]
    variant = [*[False] * lost, *[True] * won, *rest]
    return run("old", verdicts(*baseline)), run("new", verdicts(*variant))


def test_a_planted_difference_is_counted_tested_and_its_flips_are_listed() -> None:
    base, other = planted(200, 16, 6)
    variants, flips = assess([base, other], "old", None, "in_turn")
    (row,) = variants[1].differences
    assert (row.lost, row.won, row.pairs, row.test) == (16, 6, 200, "exact McNemar")
    assert row.difference == pytest.approx(-5.0)
    assert row.p == pytest.approx(0.0525, abs=5e-5)
    assert row.equal_outputs == 178
    assert [flip.change for flip in flips].count("lost") == 16
    assert (flips[0].baseline_output, flips[0].variant_output, flips[0].gold) == (
        "answer True",
        "answer False",
        "answer True",
    )
    assert variants[0].differences == []


def test_correction_counts_every_test_of_every_variant() -> None:
    base, other = planted(200, 16, 6)
    third = run("third", other.samples)
    variants, _ = assess([base, other, third], "old", None, "in_turn")
    for variant in variants[1:]:
        row = variant.differences[0]
        assert row.p_adjusted == pytest.approx(2 * (row.p or 0))


@pytest.mark.parametrize(
    ("lost", "won", "verdict"),
    [(0, 0, "GO"), (2, 2, "GO"), (60, 10, "NO-GO"), (16, 6, "INCONCLUSIVE")],
)
def test_the_gate_rules_a_drop_out_proves_it_or_says_how_many_samples_would(lost: int, won: int, verdict: str) -> None:
    row = only(*planted(400, lost, won), Gate(max_drop=2.0))
    assert row.verdict == verdict
    assert (row.samples_to_decide is None) == (verdict != "INCONCLUSIVE")
    assert row.samples_to_decide is None or row.samples_to_decide > 400


def test_equal_answers_to_few_questions_do_not_prove_that_there_is_no_small_drop() -> None:
    row = only(*planted(50, 0, 0), Gate(max_drop=1.0))
    assert row.verdict == "INCONCLUSIVE"
    assert (row.samples_to_decide or 0) > 300


def test_the_gate_is_inconclusive_where_too_few_samples_can_be_compared() -> None:
    answered = verdicts(*[True] * 400)
    failed = [sample(index, None, failed="http_500", output=None) for index in range(5)]
    base, other = run("old", answered), run("new", [*failed, *answered[5:]], state=State.INCOMPLETE)
    assert only(base, other, Gate(max_drop=2.0)).verdict == "INCONCLUSIVE"
    row = only(base, other, Gate(max_drop=2.0, min_coverage=0.98))
    assert (row.verdict, row.pairs, row.unanswered) == ("GO", 395, 5)


def test_a_failed_request_is_never_a_lost_answer() -> None:
    base = run("old", verdicts(*[True] * 100))
    failed = [sample(index, None, failed="http_500", output=None) for index in range(20)]
    row = only(base, run("new", [*failed, *verdicts(*[True] * 100)[20:]]))
    assert (row.lost, row.won, row.p) == (0, 0, 1.0)


def test_other_prompts_everywhere_are_not_comparable() -> None:
    others = [sample(index, index % 2 == 0, prompt=f"asked otherwise {index}") for index in range(40)]
    row = only(run("old", verdicts(*[True] * 40)), run("new", others), Gate())
    assert (row.pairs, row.prompts_differ, row.test, row.p, row.verdict) == (0, 40, None, None, "INCONCLUSIVE")
    assert row.interval is not None
    assert any("not comparable" in note for note in row.notes)


def test_another_limit_of_the_answer_is_said_though_the_prompts_are_the_same() -> None:
    evaluate = [{"evaluator": "straight", "datasets": ["rows"], "generation": {"max_tokens": 5}, "concurrency": 2}]
    other = run("new", verdicts(True), spec={"serve": {"engine": "new"}, "evaluate": evaluate})
    variants, _ = assess([run("old", verdicts(True)), other], "old", None, "in_turn")
    assert variants[1].notes == ["asked in another way than the baseline: evaluate.0.generation"]


def valued(values: list[float]) -> list[Sample]:
    """Samples of a metric that is a number."""
    return [sample(index, None, value=value) for index, value in enumerate(values)]


def test_a_metric_of_numbers_is_compared_by_flipping_signs() -> None:
    random = Random(5)
    first = [random.gauss(50, 10) for _ in range(60)]
    second = [value - 4 + random.gauss(0, 4) for value in first]
    runs = [
        run(name, valued(values), [result(valued(values), metric="rouge1", score=sum(values) / 60, interval=None)])
        for name, values in (("old", first), ("new", second))
    ]
    row = only(runs[0], runs[1], Gate())
    assert row.test == "sign flips"
    assert (row.p or 1) < 0.001
    assert (row.interval or (0, 0))[1] < -2
    assert row.verdict == "INCONCLUSIVE"  # the gate judges right and wrong


def test_answers_to_one_question_count_as_one_sample() -> None:
    repeats = 4

    def asked(right: list[int]) -> list[Sample]:
        flags = [[place < count for place in range(repeats)] for count in right]
        return [
            sample(question * repeats + place, flag, prompt=f"question {question}")
            for question, own in enumerate(flags)
            for place, flag in enumerate(own)
        ]

    base, other = asked([4] * 12), asked([1] * 12)
    row = only(run("old", base), run("new", other), Gate(max_drop=10))
    assert row.difference == pytest.approx(-75.0)
    assert row.p == pytest.approx(2 / 2**12)  # twelve questions, not 36 flips
    assert (row.lost, row.test, row.verdict) == (None, "sign flips", "NO-GO")
    assert "12 questions" in row.notes[0]
    assert only(run("old", base), run("new", base), Gate(max_drop=10)).verdict == "INCONCLUSIVE"  # twelve are too few


def test_a_metric_of_parts_that_gave_one_engine_only_right_and_wrong_is_compared_by_numbers() -> None:
    whole = verdicts(True, True, False, True)
    parts = valued([100.0, 50.0, 0.0, 25.0])
    other = run("new", parts, [result(parts, score=43.75, interval=None)])
    row = only(run("old", whole), other)
    assert (row.test, row.difference) == ("sign flips", pytest.approx(-31.25))


def test_a_group_of_data_sets_is_shown_and_its_members_are_judged() -> None:
    base, other = planted(400, 0, 0)
    for one in (base, other):
        one.record.results.append(result(one.samples, dataset="the whole of one"))
    variants, _ = assess([base, other], "old", Gate(max_drop=2.0), "in_turn")
    assert [row.verdict for row in variants[1].differences] == ["GO", None]
    assert variants[1].verdict == "GO"
    assert "its parts" in variants[1].differences[1].notes[0]


def test_a_score_that_the_samples_do_not_explain_has_no_test() -> None:
    rows = verdicts(True, False, True)
    row = only(run("old", rows), run("new", rows, [result(rows, score=12.0)]))
    assert (row.test, row.p) == (None, None)
    assert any("no test" in note for note in row.notes)


def test_a_job_that_failed_is_inconclusive_and_the_others_are_still_compared() -> None:
    base, other = planted(400, 0, 0)
    broken = run("broken", [], [], state=State.FAILED)
    variants, _ = assess([base, other, broken], "old", Gate(max_drop=2.0), "in_turn")
    assert [variant.verdict for variant in variants] == [None, "GO", "INCONCLUSIVE"]
    assert "failed" in variants[2].reasons[0]
    assert verdict_of(variants, "old") == "INCONCLUSIVE"
    assert not is_complete(variants, "old")


def test_a_data_set_that_only_the_baseline_has_keeps_a_variant_from_go() -> None:
    base, other = planted(400, 0, 0)
    more = run("old", base.samples, [*base.record.results, result(base.samples, dataset="more")])
    variants, _ = assess([more, other], "old", Gate(max_drop=2.0), "in_turn")
    assert variants[1].verdict == "INCONCLUSIVE"
    assert not is_complete(variants, "old")


def timed(name: str, seconds: float, **gateway: Any) -> Run:
    return run(
        name, verdicts(True), busy=seconds, gateway={"answered": 1, **gateway}, times={"evaluating": 9 * seconds}
    )


def test_the_inference_time_is_that_in_which_an_engine_had_a_request(tmp_path: Path) -> None:
    spans = [(0.0, 7.0, 10.0), (5.0, 3.0, 4.0), (20.0, 0.0, 2.0), (30.0, 0.0, 5.0)]  # came in, waited, took in all
    rows = [
        {"time": 100 + begin, "queue_wait": wait, "total": total, "replayed": begin == 30.0, "attempts": 1}
        for begin, wait, total in spans
    ]
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert busy_seconds(file) == pytest.approx(3 + 2)  # 7 to 10, 20 to 22
    assert busy_seconds(tmp_path / "none") is None


def test_speed_ups_are_the_baselines_inference_time_by_the_variants() -> None:
    variants, _ = assess([timed("old", 30.0), timed("new", 10.0)], "old", None, "in_turn")
    speed = variants[1].speed
    assert (speed.inference, speed.speed_up, speed.total_speed_up) == (10.0, 3.0, 3.0)
    assert variants[0].speed.speed_up == 1.0
    assert speed.notes == []


def test_answers_from_a_journal_and_a_slow_gateway_are_no_speed_of_the_engine() -> None:
    replayed, limited = timed("new", 10.0, replayed=1), timed("third", 10.0, honesty={"client_limited": True})
    variants, _ = assess([timed("old", 30.0), replayed, limited], "old", None, "in_turn")
    assert variants[1].speed.speed_up is None
    assert [bool(variant.speed.notes) for variant in variants] == [False, True, True]


def test_the_report_shows_the_table_the_flips_and_the_findings_of_both() -> None:
    base, other = planted(200, 16, 6)
    for one, verdict in ((base, "ok"), (other, "note")):
        finding = Finding("stop_strings", verdict, f"seen at {one.name}")  # type: ignore[arg-type]
        one.record.fidelity = Fidelity((finding,), 1.0)
    variants, flips = assess([base, other], "old", Gate(max_drop=2.0), "in_turn")
    made = {"id": "c", "name": "two", "created_at": now(), "baseline": "old", "verdict": verdict_of(variants, "old")}
    text = markdown(Comparison(variants=variants, **made), flips)
    assert text.startswith("# two: INCONCLUSIVE\n")
    assert "-5.00 [" in text
    assert "| 178/200 | INCONCLUSIVE |" in text
    assert "16 lost, 6 won" in text
    assert "... and 12 more" in text
    assert "| stop_strings | ok | note |" in text
    assert "stop_strings: seen at new (new)" in text
    assert "samples would decide" in text
