"""OpenCompass's own data set classes on small data of ours: generated, by perplexity, by likelihood, programs."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.evaluators.base import Done
from orchestrator.fake_engine.answers import tokens_of
from orchestrator.fake_engine.logprobs import scored
from orchestrator.results import DatasetResult, Evaluation, Sample
from orchestrator.spec.models import EvaluateSpec
from orchestrator.spec.opencompass import JudgeSpec, OpenCompassSpec
from tests.orchestrator.opencompass.real_opencompass import EVALUATOR, Run, collect, run_opencompass
from tests.orchestrator.opencompass.small_data import (
    CAPITALS,
    LETTERS,
    judgements,
    letter,
    options,
    question,
    write_cache,
)
from tests.orchestrator.test_fake_engine import ready

pytestmark = pytest.mark.real

NAMES = [
    "gsm8k_gen_1d7fe4",
    "ARC_c_gen_1e0de5",
    "ARC_c_ppl_a450bd",
    "winogrande_ll_c5cf57",
    "aime2024_llmjudge_gen_5e9f4f",
    "aime2024_gen_17d799",
    "aime2024_cascade_eval_gen_5e9f4f",
]
OWN = """
from mmengine.config import read_base
from opencompass.datasets.custom import CustomDataset
from opencompass.openicl.icl_evaluator import AveragePPLEvaluator
from opencompass.openicl.icl_inferencer import PPLOnlyInferencer
from opencompass.openicl.icl_prompt_template import PromptTemplate
from opencompass.openicl.icl_retriever import ZeroRetriever

texts_datasets = [dict(
    abbr="texts", type=CustomDataset, path={texts!r}, reader_cfg=dict(input_columns=["text"], output_column=None),
    infer_cfg=dict(
        prompt_template=dict(type=PromptTemplate, template="{{text}}"),
        retriever=dict(type=ZeroRetriever), inferencer=dict(type=PPLOnlyInferencer)),
    eval_cfg=dict(evaluator=dict(type=AveragePPLEvaluator)))]
summarizer = dict(
    dataset_abbrs=["gsm8k", "both", "more"],
    summary_groups=[
        dict(name="both", subsets=["choices", "likely"]), dict(name="sums", subsets=["gsm8k"]),
        dict(name="more", subsets=["both", "sums"])])
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data, where OpenCompass looks for it, and a server that the model's programs try to reach."""
    cache = tmp_path_factory.mktemp("data cache")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        write_cache(cache, server.getsockname()[1])
        patch.setenv("COMPASS_DATA_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="module")
def kinds(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten data sets in one run; a tenth of the prompts, and so of the texts to score, fail for good."""
    (cache / "own.py").write_text(OWN.format(texts=str(cache / "texts.jsonl")))
    place = tmp_path_factory.mktemp("kinds")
    with ready(place, "--answers", str(cache / "judgements.jsonl"), "--model", "wise") as wise:
        judge = JudgeSpec(server=f"http://127.0.0.1:{wise.port}", model="wise")
        spec = EvaluateSpec(
            evaluator="opencompass",
            datasets=[*NAMES, "choices.jsonl", "likely.csv", "own.py"],
            limit=12,
            opencompass=OpenCompassSpec(summarizer="own.py", judge=judge),
        )
        options = ("--answers", str(cache / "answers.jsonl"), "--logprobs", "--fail-prompts", "0.1")
        return run_opencompass(spec, place / "job", *options, base=cache)


@pytest.fixture(scope="module")
def found(kinds: Run) -> Evaluation:
    return collect(kinds.folder)


def result(evaluation: Evaluation, name: str) -> DatasetResult:
    (one,) = [one for one in evaluation.datasets if one.dataset == name]
    return one


def samples(evaluation: Evaluation, name: str) -> list[Sample]:
    return [sample for sample in evaluation.samples if sample.dataset == name]


def perplexity(text: str) -> float:
    """What the fake engine's scores of a text come to, by OpenCompass's definition."""
    tokens = tokens_of(text)
    return -sum(scored(token)[1] for token in tokens[1:]) / len(tokens)


def likeliest(texts: dict[str, str]) -> str:
    return min(texts, key=lambda key: perplexity(texts[key]))


def test_every_data_set_is_asked_and_scored_and_failures_are_left_out(kinds: Run, found: Evaluation) -> None:
    names = [one.dataset for one in found.datasets]
    flags = ["aime2024", "aime2024_again", "aime2024_again_again"]
    assert names == [
        "gsm8k",
        "ARC-c",
        "ARC-c_again",
        "winogrande",
        *flags,
        "choices",
        "likely",
        "texts",
        "both",
        "more",
    ]
    assert EVALUATOR.progress(kinds.folder) == Done(120, 120, over=True)
    for one in found.datasets[:-2]:
        own = samples(found, one.dataset)
        assert (one.asked, one.answered) == (12, sum(sample.failed is None for sample in own))
    failed = {sample.failed for sample in found.samples if sample.failed}
    assert failed - {"not_judged"} <= {failure.id for failure in kinds.ledger.failures}
    assert 0 < sum(one.failed for one in found.datasets[:-2]) < 120


def test_prompt_versions_are_those_of_the_configs_names_in_and_out_of_the_summarizers_table(found: Evaluation) -> None:
    versions = [one.prompt_version for one in found.datasets]
    assert versions[: len(NAMES)] == [name.rsplit("_", 1)[1] for name in NAMES]


def test_generated_answers_are_right_wherever_there_is_one(found: Evaluation) -> None:
    for name in ("gsm8k", "ARC-c", "choices"):
        one = result(found, name)
        assert one.score == 100.0, one


def test_perplexity_chooses_what_the_engine_finds_likeliest(found: Evaluation) -> None:
    answered = 0
    for country, sample in zip(CAPITALS, samples(found, "ARC-c_again"), strict=True):
        texts = {key: f"Question: {question(country)}\nAnswer: \n{name}" for key, name in options(country).items()}
        assert sample.prompt == texts["A"]
        if sample.failed is None:
            answered += 1
            assert (sample.prediction, sample.gold) == (likeliest(texts), letter(country))
            assert sample.output is not None
            told = dict(line.split(": ") for line in sample.output.splitlines())
            assert {key: float(value) for key, value in told.items()} == pytest.approx(
                {key: perplexity(text) for key, text in texts.items()}, rel=1e-4
            )
    own = samples(found, "ARC-c_again")
    right = sum(sample.correct is True for sample in own)
    assert result(found, "ARC-c_again").score == pytest.approx(100 * right / answered)


def test_a_csv_file_of_ones_own_is_scored_by_perplexity_too(found: Evaluation) -> None:
    for country, sample in zip(CAPITALS, samples(found, "likely"), strict=True):
        shown = "".join(f"\n{key}. {name}" for key, name in options(country).items())
        texts = {key: f"Question: {question(country)}{shown}\nAnswer: {key}" for key in LETTERS}
        if sample.failed is None:
            assert sample.prediction == likeliest(texts)


def test_one_text_that_could_not_be_scored_fails_its_sample(kinds: Run, found: Evaluation) -> None:
    marks = [json.loads(line) for line in (kinds.folder / "work/unscored.jsonl").read_text().splitlines()]
    lost = {row["prompt"] for row in marks}
    for country, sample in zip(CAPITALS, samples(found, "ARC-c_again"), strict=True):
        texts = {f"Question: {question(country)}\nAnswer: \n{name}" for name in options(country).values()}
        assert (sample.failed is not None) == bool(texts & lost)


def test_likelihoods_of_endings_are_sums_over_their_tokens(found: Evaluation) -> None:
    ending = sum(scored(token)[1] for token in tokens_of(" with my own eyes."))
    for sample in samples(found, "winogrande"):
        if sample.output is not None:
            told = [float(line.split(": ")[1]) for line in sample.output.splitlines()]
            assert told == pytest.approx([ending, ending], rel=1e-4)


def test_a_mean_perplexity_is_made_without_the_failed_texts(found: Evaluation) -> None:
    cities = [f"Somebody in {city} waits for the train." for city in CAPITALS.values()]
    own = samples(found, "texts")
    answered = [perplexity(text) for text, sample in zip(cities, own, strict=True) if sample.failed is None]
    one = result(found, "texts")
    assert (one.metric, one.score) == ("average_ppl", pytest.approx(sum(answered) / len(answered)))
    assert one.interval is None


def test_a_judge_says_what_is_right_and_what_it_does_not_say_is_not_counted(found: Evaluation) -> None:
    own = samples(found, "aime2024")
    verdicts = dict(enumerate(judgements()))
    for sample in own:
        if sample.failed is None:
            assert {True: "A", False: "B"}[sample.correct is True] == verdicts[sample.index], sample
    silent = [sample for sample in own if sample.failed == "not_judged"]
    assert silent
    assert {verdicts[sample.index] for sample in silent} == {"hm"}
    judged = [sample for sample in own if sample.failed is None]
    share = 100 * sum(sample.correct is True for sample in judged) / len(judged)
    assert result(found, "aime2024").score == pytest.approx(share)


def test_formulas_are_compared_by_what_they_say(found: Evaluation) -> None:
    for sample in samples(found, "aime2024_again"):
        if sample.failed is None:
            assert sample.correct == (sample.index % 4 != 0), sample
            assert sample.prediction is not None
            assert str(sample.index + 100 * (sample.index % 4 == 0)) in sample.prediction
    one = result(found, "aime2024_again")
    assert one.metric == "accuracy"
    assert not any("could not be verified" in note for note in one.notes)


def test_a_judge_behind_a_rule_counts_only_where_it_gives_a_verdict(found: Evaluation) -> None:
    own = [sample for sample in samples(found, "aime2024_again_again") if sample.failed in (None, "not_judged")]
    for sample in own:
        verdict = judgements()[sample.index]
        assert sample.failed == ("not_judged" if sample.index % 4 == 0 and verdict == "hm" else None), sample
        if sample.failed is None:
            assert sample.correct == (sample.index % 4 != 0 or verdict == "A")
    assert {sample.failed for sample in own} == {None, "not_judged"}
    assert any(re.match(r"a rule found \d+ of 12 answers right", note) for note in result(found, own[0].dataset).notes)


def test_a_group_with_failed_samples_gets_no_number(found: Evaluation) -> None:
    members = [result(found, name) for name in ("choices", "likely")]
    group = result(found, "both")
    assert (group.asked, group.failed) == (24, sum(one.failed for one in members))
    assert (group.score is None) == (group.failed > 0)
    assert "the summarizer's sum of 2 data sets" in group.notes


def test_a_group_of_groups_fails_with_the_samples_of_their_data_sets(found: Evaluation) -> None:
    members = [result(found, name) for name in ("choices", "likely", "gsm8k")]
    group = result(found, "more")
    assert (group.asked, group.failed) == (36, sum(one.failed for one in members))
    assert (group.score is None) == (group.failed > 0)


def test_all_answers_are_there_before_anything_is_scored(kinds: Run) -> None:
    answered = [file.stat().st_mtime_ns for file in kinds.folder.glob("out/*/predictions/*/*.json")]
    results = kinds.folder.glob("out/*/results/*/*.json")
    scores = [file.stat().st_mtime_ns for file in results if "_replica" not in file.stem]
    assert len(answered) == len(scores) == 10
    assert max(answered) < min(scores)


@pytest.fixture(scope="module")
def programs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Programs, and texts to score, on an engine that refuses to score any."""
    spec = EvaluateSpec(evaluator="opencompass", datasets=["likely.csv", "humaneval_gen_8e312c"], limit=8)
    place = tmp_path_factory.mktemp("programs")
    return run_opencompass(spec, place, "--answers", str(cache / "answers.jsonl"), base=cache)


def test_programs_run_without_a_network_and_within_limits(programs: Run) -> None:
    evaluation = collect(programs.folder)
    verdicts = {sample.gold: sample.correct for sample in samples(evaluation, "openai_humaneval")}
    held = {"network": True, "memory": True}
    wrong = {"triple": False, "endless": False, "leaves": False, "files": False, "processes": False}
    assert verdicts == {"double": True, **wrong, **held}
    (results,) = programs.folder.glob("out/*/results/*/openai_humaneval.json")
    said = {row["task_id"][0]: row["result"][0] for row in json.loads(results.read_text())["details"]}
    assert (said["endless"], said["triple"]) == ("timed out", "failed: AssertionError: ")
    # Root may start as many as it likes, so that they are counted; anybody else is refused the next one.
    assert re.match("failed: (too many processes|BlockingIOError)", said["processes"])


def test_a_score_of_programs_says_how_they_were_run_and_which_trap_is_near(programs: Run) -> None:
    one = result(collect(programs.folder), "openai_humaneval")
    assert (one.metric, one.score) == ("humaneval_pass@1", pytest.approx(100 * 3 / 8))
    assert any(note.startswith("the model's programs ran without a network") for note in one.notes)
    assert any("8 of 8 prompts end in a line break" in note for note in one.notes)


def test_texts_that_the_engine_refuses_to_score_are_failures_and_no_wrong_answers(programs: Run) -> None:
    one = result(collect(programs.folder), "likely")
    assert (one.score, one.asked, one.failed) == (None, 8, 8)
    assert {failure.cause for failure in programs.ledger.failures} == {"http_400"}
