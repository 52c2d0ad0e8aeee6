from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DatasetMissing, EvaluatorFailed
from orchestrator.evaluators.lm_eval.diagnosis import failure
from orchestrator.evaluators.lm_eval.reading import GroupFiles, TaskFiles
from orchestrator.evaluators.lm_eval.scoring import group_result, scored
from orchestrator.results import wilson_interval

MARK = "[[request-failed:7-0a1b2c]]"


def row(index: int, resps: Any, arguments: dict[str, Any], **metrics: Any) -> dict[str, Any]:
    return {
        "doc_id": index,
        "target": metrics.pop("target", "1"),
        "arguments": arguments,
        "resps": resps,
        "filtered_resps": resps[0],
        "metrics": list(metrics),
        **metrics,
    }


def answer(index: int, text: str, **metrics: Any) -> dict[str, Any]:
    """A question asked over chat and its answer."""
    chat = [f'[{{"role": "user", "content": "q{index}"}}]']
    return row(index, [[text]], {"gen_args_0": {"arg_0": chat, "arg_1": {"until": []}}}, **metrics)


def choice(index: int, scores: list[str], **metrics: Any) -> dict[str, Any]:
    """A question with choices `a`, `b`, ... and the log-probability of each."""
    arguments = {f"gen_args_{at}": {"arg_0": f"q{index}", "arg_1": " " + "abcd"[at]} for at in range(len(scores))}
    return row(index, [[[score, "False"]] for score in scores], arguments, **metrics)


def files(rows: list[dict[str, Any]], kind: str = "generate_until", name: str = "t", **metrics: float) -> TaskFiles:
    return TaskFiles(name, True, {"output_type": kind}, 0, "abc", metrics, {"none": rows}, len(rows))


def test_a_failed_question_leaves_the_score_however_it_was_counted() -> None:
    rows = [answer(0, "x", em=1.0), answer(1, "y", em=0.0), answer(2, MARK, em=1.0), answer(3, " ", em=0.0)]
    found = scored(files(rows, **{"em,none": 0.5}))
    result = found.result
    assert (result.metric, result.score, result.interval) == ("em", 50.0, wilson_interval(1, 2))
    assert (result.asked, result.answered, result.failed, result.coverage) == (4, 2, 2, 0.5)
    assert [sample.failed for sample in found.samples] == [None, None, "7-0a1b2c", "empty_answer"]
    assert [sample.correct for sample in found.samples] == [True, False, None, None]
    assert (found.samples[0].prompt, found.samples[0].output, found.samples[2].output) == ("user: q0", "x", None)
    assert "2 failed samples left out; lm-eval, which scores them, says 50.00" in result.notes


def test_a_choice_whose_score_failed_fails_its_question() -> None:
    rows = [choice(0, ["-1.5", "-0.5"], acc=1.0), choice(1, [MARK, "-9.0"], acc=1.0, target="0")]
    rows.append(choice(2, ["-inf", "-9.0"], acc=0.0))
    found = scored(files(rows, "multiple_choice", **{"acc,none": 2 / 3}))
    assert (found.result.score, found.result.failed) == (100.0, 2)
    assert [sample.failed for sample in found.samples] == [None, "7-0a1b2c", "impossible"]
    assert (found.samples[0].prediction, found.samples[0].gold) == (" b", " b")
    assert found.samples[0].output == '-1.5000 " a"\n-0.5000 " b"'


def test_an_engine_that_scores_nothing_has_no_score_instead_of_a_lucky_one() -> None:
    rows = [choice(index, ["0.0", "0"], acc=float(index % 2)) for index in range(4)]
    found = scored(files(rows, "multiple_choice", **{"acc,none": 0.5}))
    assert (found.result.score, found.result.coverage) == (None, 0.0)
    assert {sample.failed for sample in found.samples} == {"no_scores"}
    rows.append(choice(4, [MARK, "0.0"], acc=1.0))
    found = scored(files(rows, "multiple_choice", **{"acc,none": 0.6}))
    assert [sample.failed for sample in found.samples] == [*["no_scores"] * 4, "7-0a1b2c"]


def test_a_metric_that_is_no_mean_is_published_only_when_every_question_was_answered() -> None:
    def result(*texts: str) -> Any:
        rows = [answer(index, text, bleu=["gold", text]) for index, text in enumerate(texts)]
        return scored(files(rows, **{"bleu,none": 31.5})).result

    assert (result("a", "b").score, result("a", "b").interval) == (31.5, None)
    assert result("a", MARK).score is None
    assert "cannot be computed" in result("a", MARK).notes[-1]


def test_infinity_which_marks_make_of_a_perplexity_is_no_score() -> None:
    rows = [choice(0, ["-1.5"], perplexity=-1.5), choice(1, [MARK], perplexity=float("-inf"))]
    found = scored(files(rows, "loglikelihood", **{"perplexity,none": float("inf")}))
    assert (found.result.score, found.result.failed) == (None, 1)


def test_a_number_that_the_values_do_not_give_is_not_recomputed() -> None:
    rows = [answer(0, "a", em=1.0), answer(1, MARK, em=0.0)]
    assert scored(files(rows, **{"em,none": 0.9})).result.score is None


def test_a_mean_of_shares_is_in_percent_without_an_interval_and_so_is_each_sample() -> None:
    found = scored(files([answer(0, "a", f1=0.5), answer(1, "b", f1=1.0)], **{"f1,none": 0.75}))
    assert (found.result.score, found.result.interval) == (75.0, None)
    assert [(sample.value, sample.correct) for sample in found.samples] == [(50.0, None), (100.0, None)]


def test_other_filters_and_metrics_are_told_beside_the_first() -> None:
    strict = [answer(0, "a", em=0.0), answer(1, "b", em=1.0)]
    flexible = [answer(0, "a", em=1.0), answer(1, "b", em=1.0)]
    both = TaskFiles(
        name="t",
        chat=False,
        config={"output_type": "generate_until"},
        shots=5,
        version="abc",
        metrics={"em,strict": 0.5, "em,flexible": 1.0},
        rows={"strict": strict, "flexible": flexible},
        original=2,
    )
    result = scored(both).result
    assert (result.metric, result.score) == ("em,strict", 50.0)
    assert result.notes == ["5 examples before each question, asked over completions", "also em,flexible 100.00"]


def test_a_groups_score_is_over_the_answered_questions_of_all_its_tasks() -> None:
    one = scored(files([answer(0, "a", acc=1.0), answer(1, MARK, acc=0.0)], name="one", **{"acc,none": 0.5}))
    two = scored(files([answer(0, "a", acc=0.0), answer(1, "b", acc=1.0)], name="two", **{"acc,none": 0.5}))
    group = GroupFiles("all", ("one", "two"), {"alias": "all", "acc,none": 0.5, "acc_stderr,none": "N/A"})
    result = group_result(group, {"one": one, "two": two})
    assert (result.dataset, result.asked, result.answered) == ("all", 4, 3)
    assert result.score == pytest.approx(200 / 3)
    weighted = group_result(GroupFiles("all", ("one", "two"), {"acc,none": 0.7}), {"one": one, "two": two})
    assert weighted.score is None


@pytest.mark.parametrize(
    ("log", "kind", "hint"),
    [
        ("x\nConnectionError: Couldn't reach 'openai/gsm8k' on the Hub\n", DatasetMissing, "is not here"),
        ("ModuleNotFoundError: No module named 'langdetect'\n", EvaluatorFailed, "`langdetect`"),
        (
            "2026 ERROR [x] Exception:KeyError('logprobs'), {}, retrying.\nKeyError: 'logprobs'\n",
            EvaluatorFailed,
            "vllm",
        ),
        ("ValueError: no\n", EvaluatorFailed, "see "),
    ],
)
def test_a_run_without_results_is_explained_from_its_log(
    log: str, kind: type[Exception], hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "lm_eval-0.log"
    file.write_text(log)
    error = failure("no results", file)
    assert type(error) is kind
    assert hint in error.hint
    assert log.splitlines()[-1] in error.message
