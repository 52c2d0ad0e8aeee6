from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from launchers.environments import Environment
from orchestrator.evaluators.lm_eval.index import KEPT
from orchestrator.evaluators.lm_eval.tasks import catalogue, find
from tests.orchestrator.lm_eval.support import EVALUATOR, installed, spec


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return installed(tmp_path)


def refused(environment: Environment | None, *names: str, base: Path = Path("/"), **more: Any) -> dict[str, str]:
    return {one.field: one.message for one in EVALUATOR.refusals(spec(*names, **more), base, environment)}


def names_of(entry: str, environment: Environment | None, base: Path = Path("/")) -> list[str]:
    return [task.name for asked in find(entry, base, catalogue(spec(entry), base, environment)) for task in asked.tasks]


def test_our_own_tasks_are_found_without_lm_eval_installed() -> None:
    assert refused(None, "demo_arithmetic", "demo_choices") == {}


def test_a_group_is_its_members_those_of_groups_within_it_included(environment: Environment) -> None:
    assert names_of("all_sums", environment) == ["sums", "odd"]


def test_a_tag_is_every_task_that_bears_it_in_its_own_file_or_in_an_included_one(environment: Environment) -> None:
    assert sorted(names_of("numbers", environment)) == ["odd", "sums"]


def test_a_pattern_is_every_name_that_fits(environment: Environment) -> None:
    assert names_of("s?ms", environment) == ["sums"]


def test_an_unknown_name_gets_the_nearest_ones(environment: Environment) -> None:
    assert "`demo_arithmetic`" in refused(environment, "demo_arithmetik")["datasets.0"]
    assert "`sums`" in refused(environment, "sum")["datasets.0"]


def test_without_lm_eval_its_names_are_refused_with_the_command_that_installs_it() -> None:
    assert "orchestrator install lm_eval" in refused(None, "gsm8k")["datasets.0"]


def test_code_that_the_model_wrote_and_questions_with_images_are_refused(environment: Environment) -> None:
    assert "runs code" in refused(environment, "code")["datasets.0"]
    assert "images" in refused(environment, "seen")["datasets.0"]


def test_a_task_asked_twice_is_refused_at_the_second_place(environment: Environment) -> None:
    found = refused(environment, "all_sums", "odd", "demo_choices")
    assert found == {"datasets.1": "`odd` is asked twice: by `odd` and by `all_sums`"}


def test_tasks_that_need_scores_of_texts_are_told_apart_from_those_that_ask_for_text(environment: Environment) -> None:
    asked = spec("sums", "odd", "demo_arithmetic", "demo_choices", "all_sums", "by_code")
    needing = EVALUATOR.scored_by_likelihood(asked, Path("/"), environment)
    assert needing == ["datasets.1", "datasets.3", "datasets.4", "datasets.5"]


def test_a_file_of_ones_own_is_found_from_the_specs_folder_and_may_include_any_other(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"include: {environment.folder}/lib/python3.11/site-packages/lm_eval/tasks/sums/odd.yaml\ntask: mine\n"
    )
    (tmp_path / "group.yaml").write_text("group: ours\ntask: [mine, sums]\n")
    assert names_of("mine.yaml", environment, tmp_path) == ["mine"]
    assert names_of("group.yaml", environment, tmp_path) == ["mine", "sums"]
    assert "datasets.0" in refused(environment, "other.yaml", base=tmp_path)
    assert EVALUATOR.scored_by_likelihood(spec("mine.yaml"), tmp_path, environment) == ["datasets.0"]


def test_names_under_the_include_path_win(environment: Environment, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.yaml").write_text("task: sums\noutput_type: multiple_choice\ndataset_path: json\n")
    asked = spec("sums", lm_eval={"include_path": "own"})
    assert EVALUATOR.refusals(asked, tmp_path, environment) == []
    assert EVALUATOR.scored_by_likelihood(asked, tmp_path, environment) == ["datasets.0"]
    assert EVALUATOR.paths_read(asked, tmp_path) == [own]
    assert EVALUATOR.paths_read(spec("sums", "no/such.yaml"), tmp_path) == [tmp_path / "no/such.yaml"]
    assert "lm_eval.include_path" in refused(environment, "sums", base=tmp_path, lm_eval={"include_path": "none"})


def test_data_files_that_are_absent_are_named(environment: Environment, tmp_path: Path) -> None:
    (lack,) = EVALUATOR.missing_data(spec("odd"), tmp_path, environment)
    assert lack.field == "datasets.0"
    assert "no file odd.jsonl" in lack.message
    (tmp_path / "odd.jsonl").write_text("{}")
    assert EVALUATOR.missing_data(spec("odd", "demo_arithmetic"), tmp_path, environment) == []


def test_a_hub_data_set_that_is_not_in_the_cache_comes_with_the_command_that_fetches_it(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (lack,) = EVALUATOR.missing_data(spec("sums"), tmp_path, environment)
    assert "load_dataset('owner/SumsOfTwo')" in lack.message
    assert str(tmp_path / "hf/datasets") in lack.message
    (tmp_path / "hf/datasets/owner___sums_of_two").mkdir(parents=True)
    assert EVALUATOR.missing_data(spec("sums"), tmp_path, environment) == []


def test_the_index_is_made_once_per_environment_and_kept_in_its_folder(tmp_path: Path) -> None:
    environment = installed(tmp_path)
    assert refused(environment, "sums") == {}
    kept = environment.folder / KEPT
    assert '"all_sums"' in kept.read_text()
    began = time.monotonic()
    assert refused(environment, "sums", "demo_arithmetic") == {}
    assert time.monotonic() - began < 0.5
