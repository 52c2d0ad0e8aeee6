from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DatasetMissing, EvaluatorFailed
from orchestrator.evaluators.base import Done
from orchestrator.fake_engine.answers import read_book
from orchestrator.results import DatasetResult, Evaluation, wilson_interval
from orchestrator.spec.models import EvaluateSpec
from tests.orchestrator.opencompass.real_opencompass import DATA, EVALUATOR, Run, collect, run_opencompass

pytestmark = pytest.mark.real

ROWS = [json.loads(line) for line in DATA.read_text().splitlines()]


def last_number(text: str) -> str:
    return re.findall(r"-?\d+", text)[-1]


def rows_answered_right(wrong_rate: float) -> int:
    """How many questions of the data the fake engine answers right, from its own book."""
    book = read_book(DATA, wrong_rate=wrong_rate, seed=0).rows
    return sum(last_number(book[row["question"]]) == last_number(row["answer"]) for row in ROWS)


def only(evaluation: Evaluation) -> DatasetResult:
    (result,) = evaluation.datasets
    return result


def changed(run: Run, place: Path, name: str) -> Path:
    """A copy of the run, and the one file in it whose path ends in `name`."""
    copy = place / run.folder.name
    shutil.copytree(run.folder, copy, symlinks=True)
    shutil.copytree(run.folder.parent / "logs", place / "logs")
    (found,) = [path for path in (copy / "out").rglob("*.json") if path.as_posix().endswith(name)]
    return found


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_score_is_the_planted_one(clean_run: Run) -> None:
    right = rows_answered_right(0.2)
    assert 0 < right < len(ROWS)
    found = only(collect(clean_run.folder))
    assert (found.dataset, found.metric) == ("demo_arithmetic", "accuracy")
    assert found.score == pytest.approx(100 * right / len(ROWS))
    assert found.interval == wilson_interval(right, len(ROWS))
    assert (found.asked, found.answered, found.failed, found.coverage) == (len(ROWS), len(ROWS), 0, 1.0)
    assert found.notes == []
    assert re.fullmatch("[0-9a-f]{6}", found.prompt_version or "")


def test_every_sample_comes_back_with_its_prompt_answer_and_gold(clean_run: Run) -> None:
    samples = collect(clean_run.folder).samples
    assert [sample.index for sample in samples] == list(range(len(ROWS)))
    for sample, row in zip(samples, ROWS, strict=True):
        assert row["question"] in sample.prompt
        assert sample.prompt.endswith("put your final answer within \\boxed{}.")
        assert sample.gold == row["answer"]
        assert sample.output is not None
        assert sample.prediction == last_number(sample.output)
        assert sample.correct == (sample.prediction == last_number(row["answer"]))


def test_progress_ends_at_the_number_of_samples(clean_run: Run, tmp_path: Path) -> None:
    assert EVALUATOR.progress(clean_run.folder) == Done(len(ROWS), len(ROWS), over=True)
    assert EVALUATOR.progress(tmp_path) == Done(0, None)


def test_the_data_sets_own_answer_length_and_greedy_decoding_are_sent(clean_run: Run) -> None:
    assert len(clean_run.bodies) == len(ROWS)
    assert {(body["max_tokens"], body["temperature"]) for body in clean_run.bodies} == {(128, 0.0)}
    assert not {"seed", "top_p", "stop", "top_k", "repetition_penalty"} & clean_run.bodies[0].keys()


def test_nothing_is_written_outside_of_the_folder(clean_run: Run) -> None:
    assert list(clean_run.home.rglob("*")) == []
    assert sorted(path.name for path in clean_run.folder.parent.iterdir()) == ["home", "logs", "opencompass-0"]


def test_failed_requests_are_left_out_of_the_score_and_joined_with_the_ledger(failing_run: Run) -> None:
    evaluation = collect(failing_run.folder)
    failed = [sample for sample in evaluation.samples if sample.failed]
    assert failing_run.ledger.failed == len(failed) > 0
    assert {sample.failed for sample in failed} == {failure.id for failure in failing_run.ledger.failures}
    assert all(sample.output is None and sample.correct is None for sample in failed)
    per_set = Counter(sample.dataset for sample in failed)
    for result in evaluation.datasets:
        # The engine knows every answer, so whatever it answered is right.
        assert (result.score, result.asked) == (100.0, 40)
        assert result.failed == per_set[result.dataset]
        assert result.coverage == pytest.approx(1 - result.failed / 40)


def test_data_sets_of_a_users_file_run_beside_ours_under_names_of_their_own(failing_run: Run) -> None:
    evaluation = collect(failing_run.folder)
    names = [result.dataset for result in evaluation.datasets]
    assert names == ["demo_arithmetic", "mine-easy", "demo_arithmetic_again", "compared"]
    first = {sample.dataset: sample.gold for sample in reversed(evaluation.samples)}
    # The user's sets start at row 100 themselves; the limit counts from there.
    assert first == {name: ROWS[start]["answer"] for name, start in zip(names, (0, 100, 100, 100), strict=True)}


def test_every_generation_parameter_reaches_the_engine(failing_run: Run) -> None:
    wanted = {"max_tokens": 77, "temperature": 0.0, "top_p": 0.5, "top_k": 3, "seed": 7, "stop": ["Question:"]}
    assert len(failing_run.bodies) == 160
    assert all(wanted.items() <= body.items() for body in failing_run.bodies)


def test_empty_answers_are_failures_and_not_wrong_answers(empty_run: Run) -> None:
    evaluation = collect(empty_run.folder)
    found = only(evaluation)
    empty = [sample for sample in evaluation.samples if sample.failed == "empty_answer"]
    assert found.failed == len(empty) > 0
    assert (found.score, found.asked) == (100.0, 60)
    assert "OpenCompass, which scores them" in found.notes[0]


def test_a_data_set_that_was_given_up_is_named_with_the_cause_and_the_log(tmp_path: Path) -> None:
    spec = EvaluateSpec(evaluator="opencompass", datasets=["demo_arithmetic"], limit=4)
    run = run_opencompass(spec, tmp_path, "--error-rate", "1", through_gateway=False)
    with pytest.raises(EvaluatorFailed) as caught:
        collect(run.folder)
    assert "demo_arithmetic: its questions were not all asked: 0 of 4" in caught.value.message
    assert "Calling OpenAI API failed" in caught.value.message
    assert str(tmp_path / "logs" / "opencompass-0.log") in caught.value.hint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("predictions/{model}/demo_arithmetic.json", "has no predictions"),
        ("results/{model}/demo_arithmetic.json", "has no results"),
        ("infer_status/{model}/demo_arithmetic.json", "not all asked"),
    ],
)
def test_a_missing_file_makes_the_evaluation_fail(clean_run: Run, tmp_path: Path, name: str, said: str) -> None:
    changed(clean_run, tmp_path, name.format(model=model_of(clean_run))).unlink()
    with pytest.raises(EvaluatorFailed, match=said):
        collect(tmp_path / clean_run.folder.name)


def test_an_error_in_the_results_makes_the_evaluation_fail(clean_run: Run, tmp_path: Path) -> None:
    file = changed(clean_run, tmp_path, f"results/{model_of(clean_run)}/demo_arithmetic.json")
    rewrite(file, error="predictions and references have different length")
    with pytest.raises(EvaluatorFailed, match="different length"):
        collect(tmp_path / clean_run.folder.name)


def test_a_lost_prediction_makes_the_evaluation_fail(clean_run: Run, tmp_path: Path) -> None:
    file = changed(clean_run, tmp_path, f"predictions/{model_of(clean_run)}/demo_arithmetic.json")
    predictions = json.loads(file.read_text())
    del predictions["17"]
    file.write_text(json.dumps(predictions))
    with pytest.raises(EvaluatorFailed, match=f"{len(ROWS) - 1} predictions instead of {len(ROWS)}"):
        collect(tmp_path / clean_run.folder.name)


def test_partial_predictions_left_behind_make_the_evaluation_fail(clean_run: Run, tmp_path: Path) -> None:
    file = changed(clean_run, tmp_path, f"predictions/{model_of(clean_run)}/demo_arithmetic.json")
    file.with_name("tmp_demo_arithmetic.jsonl").write_text("")
    with pytest.raises(EvaluatorFailed, match="not all asked"):
        collect(tmp_path / clean_run.folder.name)


def test_a_half_written_status_file_is_no_progress_but_no_error(clean_run: Run, tmp_path: Path) -> None:
    file = changed(clean_run, tmp_path, f"infer_status/{model_of(clean_run)}/demo_arithmetic.json")
    file.write_text('{"status": "runn')
    assert EVALUATOR.progress(tmp_path / clean_run.folder.name) == Done(0, None)


def test_data_that_is_missing_at_run_time_is_told_as_such(tmp_path: Path) -> None:
    config = (DATA.parents[2] / "opencompass/datasets/demo_arithmetic.py").read_text()
    (tmp_path / "lost.py").write_text(config.replace("/../../data/", "/nowhere/"))
    spec = EvaluateSpec(evaluator="opencompass", datasets=["lost.py"])
    run = run_opencompass(spec, tmp_path / "job", base=tmp_path)
    with pytest.raises(DatasetMissing, match="No such file or directory"):
        collect(run.folder)


def model_of(run: Run) -> str:
    (folder,) = run.folder.glob("out/*/predictions/*")
    return folder.name
