"""Scorers that fall back on something else without a word: what is found, and what is said beside the score."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launchers.environments import Environment
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.opencompass.catalogue import load_catalogue
from orchestrator.evaluators.opencompass.datasets import DatasetRefused, find_dataset
from orchestrator.evaluators.opencompass.details import read_details
from orchestrator.evaluators.opencompass.evaluator import PLUGIN
from orchestrator.evaluators.opencompass.needs import cannot_run, missing_packages
from orchestrator.evaluators.opencompass.nltk_data import missing_nltk_data
from orchestrator.evaluators.opencompass.notes import notes_of
from orchestrator.evaluators.opencompass.reading import Broken, DatasetFiles, read_run, run_of
from orchestrator.evaluators.opencompass.scoring import result_of, samples_of
from orchestrator.evaluators.opencompass.summary import groups_of
from orchestrator.results import DatasetResult
from orchestrator.spec.opencompass import OpenCompassSpec
from tests.orchestrator.opencompass.real_opencompass import EVALUATOR, opencompass_environment

CONFIG = """
models = [dict(abbr="m")]
datasets = [dict(
    abbr="sums", infer_cfg=dict(inferencer=dict(type="G")), eval_cfg=dict(evaluator=dict(type="x.{scorer}")))]
summarizer = dict(dataset_abbrs={listed!r}, summary_groups={groups!r})
"""


def left_behind(
    run: Path, results: dict[str, Any], scorer: str, listed: list[Any] | None = None, groups: list[Any] | None = None
) -> Path:
    """A run's files for one data set of four questions, in OpenCompass's layout."""
    answers = {str(index): {"origin_prompt": f"q{index}", "prediction": "x", "gold": "g"} for index in range(4)}
    status = {"status": "done", "completed": 4, "total": 4}
    for place, content in (("predictions", answers), ("results", results), ("infer_status", status)):
        file = run / place / "m" / "sums.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
    (run / "configs").mkdir()
    (run / "configs" / "c.py").write_text(CONFIG.format(scorer=scorer, listed=listed or [], groups=groups or []))
    return run


def read(run: Path) -> DatasetFiles:
    (found,) = read_run(run, run, None)
    assert not isinstance(found, Broken), found
    return found


def scored(files: DatasetFiles) -> DatasetResult:
    samples = samples_of(files)
    return result_of(files, samples, notes_of(files, samples, OpenCompassSpec(), Path()))


def flags(*correct: bool) -> list[dict[str, Any]]:
    return [{"pred": ["[1]"], "answer": ["[1]"], "correct": [flag]} for flag in correct]


def test_the_summarizers_metric_is_the_one_that_is_published(tmp_path: Path) -> None:
    results = {"score": 70.0, "strict": 50.0, "details": flags(True, True, False, False)}
    found = scored(read(left_behind(tmp_path, results, "IFEvaluator", [["sums", "strict"]])))
    assert (found.metric, found.score, found.notes) == ("strict", 50.0, [])


def test_a_metric_other_than_the_summarizers_is_called_another_one(tmp_path: Path) -> None:
    found = scored(read(left_behind(tmp_path, {"rouge1": 31.5}, "IFEvaluator", ["-- all --", ["sums", "strict"]])))
    assert (found.metric, found.score) == ("rouge1", 31.5)
    assert found.notes[0].startswith("WARNING: another metric than expected: the summarizer names `strict`")
    assert "`rouge1`" in found.notes[0]


def test_a_metric_other_than_the_evaluators_own_is_called_another_one(tmp_path: Path) -> None:
    found = scored(read(left_behind(tmp_path, {"edit_distance": 3.0}, "AccEvaluator")))
    assert "AccEvaluator is known for `accuracy`" in found.notes[0]


def test_a_number_called_score_that_tells_no_right_answers_is_no_accuracy(tmp_path: Path) -> None:
    found = scored(read(left_behind(tmp_path, {"score": 12.0, "bp": 1.0}, "BleuEvaluator")))
    assert (found.metric, found.notes) == (
        "score",
        ["`score` is whatever BleuEvaluator calls so: it does not tell which answers are right"],
    )


def judged(word: str | None, *, rule: bool = False, replica: int = 0) -> dict[str, Any]:
    """One entry of a cascade's details as OpenCompass 0.5.4 lays it out; without a word the judge was not asked."""
    said = {"prediction": word, "dataset_replica_idx": replica}
    rules = {"pred": "[7]", "answer": "[8]", "correct": rule, "evaluation_method": "rule"}
    return {
        "rule_evaluation": [rules],
        "cascade_correct": [rule],
        **({} if word is None else {"llm_evaluation": [said]}),
    }


@pytest.mark.parametrize(
    ("entry", "correct", "unjudged"),
    [
        (judged(None, rule=True), True, False),
        (judged("A"), True, False),
        (judged(" correct.\nIt is."), True, False),
        (judged("B"), False, False),
        (judged("INCORRECT"), False, False),
        (judged("The answer is A"), False, True),
        (judged(""), False, True),
        (judged("hm", rule=True), True, False),
    ],
)
def test_words_that_a_cascade_ignores_are_no_verdict(entry: dict[str, Any], correct: bool, unjudged: bool) -> None:
    (detail,) = read_details([entry], 1, 1, "CascadeEvaluator")
    assert (detail.prediction, detail.gold) == ("[7]", "[8]")
    assert (detail.correct, detail.unjudged) == (correct, unjudged)


def test_a_judge_that_was_asked_in_the_second_round_only_judges_that_one() -> None:
    rules = judged(None, rule=True)["rule_evaluation"] + judged(None)["rule_evaluation"]
    entry = {**judged("A", replica=1), "rule_evaluation": rules}
    assert [detail.correct for detail in read_details([entry], 2, 2, "CascadeEvaluator")] == [True, True]


def test_a_cascade_whose_judge_was_never_asked_gives_the_rules_score_and_says_so(tmp_path: Path) -> None:
    stats = {"rule_correct": 2, "llm_evaluated": 0}
    entries = [judged(None, rule=rule) for rule in (True, True, False, False)]
    results = {"accuracy": 50.0, "cascade_stats": [stats], "details": entries}
    found = scored(read(left_behind(tmp_path, results, "CascadeEvaluator")))
    assert found.score == 50.0
    assert found.notes[0] == "a rule found 2 of 4 answers right; the judge was asked about 0"
    assert found.notes[1].startswith("WARNING: another metric than expected: the rule's alone")


def test_answers_that_could_not_be_verified_are_counted_in_a_note(tmp_path: Path) -> None:
    stuck = {"pred": ["maximum recursion depth"], "answer": ["1"], "correct": [False]}
    results = {"accuracy": 75.0, "details": [*flags(True, True, True), stuck]}
    found = scored(read(left_behind(tmp_path, results, "MATHVerifyEvaluator")))
    assert found.score == 75.0
    assert found.notes == ["1 answers could not be verified (an error, or more than 10 s) and count as wrong"]


def test_references_that_the_verifier_cannot_read_are_counted_in_a_warning(tmp_path: Path) -> None:
    results = {"accuracy": 75.0, "details": flags(True, True, True)}
    found = scored(read(left_behind(tmp_path, results, "MATHVerifyEvaluator")))
    assert any(note.startswith("WARNING: 1 right answers of the data set cannot be read") for note in found.notes)


def test_a_failed_sample_within_a_group_of_groups_takes_its_number(tmp_path: Path) -> None:
    groups = [{"name": "inner", "subsets": ["sums"]}, {"name": "outer", "subsets": ["inner"]}]
    run = left_behind(tmp_path, {"accuracy": 50.0}, "AccEvaluator", ["outer"], groups)
    (run / "summary").mkdir()
    with (run / "summary" / "summary_1.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["dataset", "version", "metric", "mode", "m"], ["outer", "-", "naive_average", "gen", "50.00"]]
        )
    whole = scored(read(run))
    assert [(one.dataset, one.asked, one.score) for one in groups_of(run, [whole])] == [("outer", 4, 50.0)]
    (short,) = groups_of(run, [whole.model_copy(update={"answered": 3, "failed": 1})])
    assert (short.score, short.failed) == (None, 1)


def test_a_run_that_ended_before_its_config_was_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "20260101_000000" / "configs").mkdir(parents=True)
    with pytest.raises(EvaluatorFailed, match="before it had read its config"):
        run_of(tmp_path)


def package(folder: Path, **modules: str) -> Path:
    """An installed `opencompass` with these modules, `__` for `/`."""
    root = folder / "site-packages" / "opencompass"
    for name, text in modules.items():
        file = root / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_a_package_whose_absence_a_scorer_hides_counts_as_needed(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        datasets__bench__scorer="from .library import check\n\nclass BenchEvaluator:\n    pass\n",
        datasets__bench__library="def check():\n    from .rules import rule\n",
        datasets__bench__rules="try:\n    import emojis_of_ours\nexcept ImportError:\n    emojis_of_ours = None\n",
    )
    assert missing_packages(["BenchEvaluator"], root) == ["emojis_of_ours"]
    (root.parent / "emojis_of_ours.py").touch()
    assert missing_packages(["BenchEvaluator"], root) == []


def test_imports_that_fail_loudly_or_have_another_way_do_not_count(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        datasets__loud="try:\n    import a_one\nexcept ImportError as e:\n    raise e\n\nclass LoudEvaluator: ...\n",
        datasets__either="try:\n    import a_one\nexcept ImportError:\n    import json\n\nclass EitherEvaluator: ...\n",
    )
    assert missing_packages(["LoudEvaluator", "EitherEvaluator"], root) == []


def test_what_other_data_sets_hide_does_not_count(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        datasets__mine="from .base import Base\nfrom .theirs import y\n\nclass MineEvaluator:\n    pass\n",
        datasets__theirs="try:\n    import not_there\nexcept ImportError:\n    pass\n",
    )
    assert missing_packages(["MineEvaluator"], root) == []


def test_a_refusal_names_all_that_is_to_be_installed_in_the_version_that_fits(tmp_path: Path) -> None:
    root = package(
        tmp_path / "env/lib/python3.11",
        datasets__plus="class PlusEvaluator:\n    def score(self):\n        import evalplus, more_of_ours\n",
        configs__datasets__plus_gen="plus_datasets = [dict(reader_cfg=dict(), eval_cfg=dict(type=PlusEvaluator))]\n",
    )
    with pytest.raises(DatasetRefused, match=r"env/bin/python -m pip install evalplus==0\.2\.1 more_of_ours$"):
        find_dataset("plus_gen", tmp_path, root, None)


def test_data_of_nltk_that_a_scorer_reads_is_missing_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "env/lib/python3.11/site-packages/opencompass"
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "given"))
    monkeypatch.setattr("orchestrator.evaluators.opencompass.nltk_data._SHARED", ())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (data,) = missing_nltk_data(["IFEvaluator", "AccEvaluator"], root)
    assert (data.path, data.state) == ("nltk:tokenizers/punkt_tab", "absent")
    assert data.place == tmp_path / "given/tokenizers/punkt_tab"
    assert data.steps.endswith(f"env/bin/python -m nltk.downloader -d {tmp_path}/given punkt_tab")
    there = tmp_path / "home/nltk_data/tokenizers/punkt_tab.zip"
    there.parent.mkdir(parents=True)
    there.touch()
    assert [data.path for data in missing_nltk_data(["IFEvaluator"], root)] == []
    assert len(list(missing_nltk_data(["IFBenchEvaluator"], root))) == 2


def test_files_that_are_cut_off_are_a_failure_of_the_evaluator(tmp_path: Path) -> None:
    left_behind(tmp_path / "out" / "20260101_000000", {"accuracy": 50.0}, "AccEvaluator")
    (tmp_path / "run.json").write_text('{"limit": null}')
    assert EVALUATOR.collect(tmp_path, tmp_path / "log").datasets[0].score == 50.0
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "unscored.jsonl").write_text('{"prompt": "a", "mark": "b"}\n{"prom')
    with pytest.raises(EvaluatorFailed, match="cannot be read"):
        EVALUATOR.collect(tmp_path, tmp_path / "log")


def test_a_catalogue_that_takes_too_long_is_a_failure_of_the_evaluator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr("orchestrator.evaluators.opencompass.catalogue.PATIENCE", 0.1)
    with pytest.raises(EvaluatorFailed, match="could not be listed within"):
        load_catalogue(Environment("opencompass", tmp_path, python, {}, "", ""), tmp_path / "cache")


def test_scorers_that_guess_or_compare_models_are_refused() -> None:
    assert "does not understand" in next(cannot_run(["ATLASLLMEvaluator"]))
    for kind in ("LMEvaluator", "CharmMemoryEvaluator"):
        assert "several models" in next(cannot_run([kind]))
    assert not list(cannot_run(["GenericLLMEvaluator", "PILLMEvaluator"]))


PROGRAMS = """
import importlib.util, json, os, pathlib, sys
import opencompass
file = pathlib.Path(opencompass.__file__).parent / "datasets/livecodebench/testing_util.py"
spec = importlib.util.spec_from_file_location("testing_util", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
problem = {"input_output": json.dumps({"inputs": ["1\\n2"], "outputs": ["3"], "fn_name": "add"})}
for body in ("a + b", "a - b"):
    text = "from dataclasses import dataclass\\n@dataclass\\nclass Two:\\n    a: 'int'\\n"
    text += f"class Solution:\\n    def add(self, a, b):\\n        return {body}\\n"
    if os.fork() == 0:  # a test takes from its process what a program could do harm with
        print(module.run_test(problem, test=text, debug=False, timeout=6)[0], file=sys.__stdout__, flush=True)
        break
    os.wait()
"""


@pytest.mark.real
def test_live_code_bench_takes_right_programs_for_right(tmp_path: Path) -> None:
    """With OpenCompass's own code, which without `pyext` takes none for right."""
    argv = [str(opencompass_environment().python), "-c", PROGRAMS]
    done = subprocess.run(
        argv, env={"PYTHONPATH": str(PLUGIN)}, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["[True]", "[False]"], done.stderr
