from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.evaluators.base import Done, Target
from orchestrator.evaluators.lm_eval.tasks import TaskRefused
from tests.orchestrator.lm_eval.support import EVALUATOR, MODEL, installed, spec


def prepared(place: Path, *datasets: str, folder: Path | None = MODEL, longest: int | None = None, **more: Any) -> Any:
    """What lm-eval is told."""
    run = place / "run"
    run.mkdir()
    target = Target("http://127.0.0.1:4/v1", "tiny", 48, model_folder=folder, max_model_len=longest)
    EVALUATOR.prepare(spec(*datasets, **more), place, installed(place), target, run)
    return json.loads((run / "run.json").read_text())


def test_texts_are_asked_over_chat_and_failures_come_back_marked(tmp_path: Path) -> None:
    config = prepared(tmp_path, "demo_arithmetic", limit=7, lm_eval={"num_fewshot": 2})
    (part,) = config["parts"]
    assert (part["model"], part["apply_chat_template"], part["tasks"]) == (
        "local-chat-completions",
        True,
        ["demo_arithmetic"],
    )
    arguments = part["model_args"]
    assert arguments["base_url"] == "http://127.0.0.1:4/v1/chat/completions"
    assert arguments["header"] == {"x-orchestrator-on-failure": "mark"}
    assert (arguments["num_concurrent"], arguments["max_retries"], arguments["seed"]) == (48, 1, 1234)
    assert (config["limit"], config["num_fewshot"]) == (7, 2)


def test_base_models_are_asked_for_completions_of_plain_text(tmp_path: Path) -> None:
    (part,) = prepared(tmp_path, "demo_arithmetic", folder=None, lm_eval={"api": "completions"})["parts"]
    assert (part["model"], part["apply_chat_template"]) == ("local-completions", False)
    assert part["model_args"]["base_url"].endswith("/v1/completions")
    assert (part["model_args"]["tokenizer_backend"], part["model_args"]["tokenized_requests"]) == ("none", False)


def test_texts_to_score_are_a_part_of_their_own_and_go_as_ids_of_the_models_tokenizer(tmp_path: Path) -> None:
    generation, scores = prepared(tmp_path, "demo_arithmetic", "demo_choices")["parts"]
    assert (generation["tasks"], scores["tasks"]) == (["demo_arithmetic"], ["demo_choices"])
    arguments = scores["model_args"]
    assert scores["model"] == "local-completions"
    assert (arguments["tokenizer"], arguments["tokenized_requests"]) == (str(MODEL), True)
    assert arguments["add_bos_token"] is False
    assert arguments["max_length"] >= 1_000_000
    assert (generation["requests"], scores["requests"]) == (["generate_until"], ["loglikelihood"])


def test_a_group_is_asked_as_such_unless_its_tasks_need_different_apis(tmp_path: Path) -> None:
    (tmp_path / "pair.yaml").write_text("group: pair\ntask: [demo_choices, odd]\n")
    whole = prepared(tmp_path, "pair.yaml")
    assert [part["tasks"] for part in whole["parts"]] == [["pair"]]
    assert str(tmp_path) in whole["include_path"]
    (tmp_path / "more").mkdir()
    mixed = prepared(tmp_path / "more", "all_sums")
    assert [part["tasks"] for part in mixed["parts"]] == [["sums"], ["odd"]]


def test_lm_evals_own_tasks_are_indexed_only_when_one_is_asked(tmp_path: Path) -> None:
    assert prepared(tmp_path, "demo_arithmetic")["include_defaults"] is False
    (tmp_path / "other").mkdir()
    assert prepared(tmp_path / "other", "sums")["include_defaults"] is True


def test_whole_documents_are_scored_in_windows_as_long_as_the_model_reads(tmp_path: Path) -> None:
    (tmp_path / "text.yaml").write_text("task: text\noutput_type: loglikelihood_rolling\ndataset_path: json\n")
    (part,) = prepared(tmp_path, "text.yaml")["parts"]
    assert part["model_args"]["max_length"] == 2048
    (tmp_path / "short").mkdir()
    (short,) = prepared(tmp_path / "short", "../text.yaml", longest=512)["parts"]
    assert short["model_args"]["max_length"] == 512


def test_every_generation_parameter_is_handed_on(tmp_path: Path) -> None:
    generation = {"temperature": 0.5, "max_tokens": 9, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.1}
    (part,) = prepared(tmp_path, "demo_arithmetic", generation={**generation, "seed": 7, "stop": ["#"]})["parts"]
    assert part["gen_kwargs"] == {
        "temperature": 0.5,
        "do_sample": True,
        "max_gen_toks": 9,
        "top_p": 0.5,
        "top_k": 3,
        "repetition_penalty": 1.1,
        "until": ["#"],
    }
    assert part["model_args"]["seed"] == 7


def test_texts_are_not_scored_without_the_models_folder(tmp_path: Path) -> None:
    with pytest.raises(TaskRefused, match="`demo_choices`: scored by log-likelihoods, for which lm-eval needs"):
        prepared(tmp_path, "demo_choices", folder=None)


def test_progress_is_none_before_lm_eval_tells_any(tmp_path: Path) -> None:
    assert EVALUATOR.progress(tmp_path) == Done(0, None)


@pytest.mark.parametrize("field", [{"num_fewshot": -1}, {"api": "text"}, {"fewshot": 3}])
def test_unknown_and_impossible_fields_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"lm_eval.{next(iter(field))}"):
        spec("demo_arithmetic", lm_eval=field)
