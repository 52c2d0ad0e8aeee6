"""The list of data sets: resolved by OpenCompass's own interpreter, read and told by ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.evaluators.opencompass.catalogue import SCRIPT, Config, catalogue_file, fitting, meant, rows_in
from orchestrator.evaluators.opencompass.datasets import OUR_CONFIGS, package_of
from orchestrator.evaluators.opencompass.suffixes import explained
from tests.orchestrator.opencompass.real_opencompass import opencompass_environment
from tests.orchestrator.support import Cli


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A part of the catalogue, built as the whole one is."""
    environment = opencompass_environment()
    package = package_of(environment)
    assert package is not None
    folder = tmp_path_factory.mktemp("configs")
    for name in ("gsm8k", "humaneval", "winogrande"):
        (folder / name).symlink_to(package / "configs/datasets" / name)
    (folder / "broken.py").write_text("broken_datasets = [1 / 0]\n")
    (folder / "looped.py").write_text(
        "from opencompass.datasets import Any\n"
        "looped_datasets = [dict(abbr=f'part-{n}', type=Any, path='./data/looped') for n in range(3)]\n"
    )
    # Links to folders are not followed: the real ones are given one by one.
    folders = [str(OUR_CONFIGS), str(folder), *(str(folder / name) for name in ("gsm8k", "humaneval", "winogrande"))]
    done = subprocess.run([str(environment.python), str(SCRIPT), *folders], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def catalogue(lines: str) -> list[Config]:
    return [Config.model_validate_json(line) for line in lines.splitlines()]


@pytest.mark.real
def test_configs_are_resolved_with_their_loops_and_without_importing_what_they_name(catalogue: list[Config]) -> None:
    by_name = {row.stem: row for row in catalogue}
    assert [one.abbr for one in by_name["looped"].datasets] == ["part-0", "part-1", "part-2"]
    gsm8k = by_name["gsm8k_gen"]
    assert (gsm8k.inferencers, gsm8k.evaluators) == (["GenInferencer"], ["Gsm8kEvaluator"])
    assert by_name["winogrande_ll"].inferencers == ["LLInferencer"]
    cascade = by_name["gsm8k_cascade_eval_rawprompt_gen_36fce7"].datasets[0]
    assert cascade.scorers == ["CascadeEvaluator", "GenericLLMEvaluator", "MATHVerifyEvaluator"]
    assert "ZeroDivisionError" in (by_name["broken"].error or "")


@pytest.mark.real
def test_names_parts_patterns_and_data_sets_find_configs(catalogue: list[Config]) -> None:
    assert [row.stem for row in fitting("gsm8k_gen", catalogue)] == ["gsm8k_gen"]
    assert {row.stem for row in fitting("humaneval_gen*", catalogue)} >= {"humaneval_gen", "humaneval_gen_8e312c"}
    assert [row.stem for row in fitting("part-1", catalogue)] == ["looped"]
    assert fitting("gms8k", catalogue) == []
    assert "gsm8k_gen" in meant("gms8k_gen", catalogue)


@pytest.mark.real
def test_rows_are_counted_where_the_data_is_here(catalogue: list[Config]) -> None:
    package = package_of(opencompass_environment())
    assert package is not None
    (ours,) = fitting("demo_arithmetic", catalogue)
    (data,) = ours.data(package)
    assert (data.state, rows_in(data, ours.datasets[0])) == ("here", 200)


@pytest.mark.real
def test_the_command_lists_tells_of_one_and_suggests(lines: str, tmp_path: Path) -> None:
    environment = opencompass_environment()
    home = tmp_path / "home"
    home.mkdir()
    (home / "environments").symlink_to(environment.folder.parent)
    file = catalogue_file(environment, home / "cache")
    file.parent.mkdir()
    file.write_text(lines)
    cli = Cli(home)
    rows = json.loads(cli.run("datasets", "gsm8k_gen*", "--json").stdout)
    told = {row["name"]: row for row in rows}
    assert told["gsm8k_gen"]["stands_for"] == "gsm8k_gen_1d7fe4"
    assert told["gsm8k_gen_1d7fe4"]["suffix"][-1]["meaning"].startswith("hash of its prompt templates")
    if told["gsm8k_gen"]["data"] == "absent":
        assert "curl -LO" in told["gsm8k_gen"]["get"][0]
    one = cli.run("datasets", "demo_arithmetic").stdout
    assert "here, 200 rows" in one
    assert "generation" in one
    missed = cli.run("datasets", "gms8k_gen")
    assert (missed.returncode, "nearest: `gsm8k_gen`" in missed.stderr) == (2, True)
    here = json.loads(cli.run("datasets", "--here", "--json").stdout)
    assert "demo_arithmetic" in {row["name"] for row in here}


def test_what_a_name_says_is_explained() -> None:
    said = dict(explained("gsm8k_0shot_nocot_gen_6cbf22"))
    assert list(said) == ["0shot", "nocot", "gen", "6cbf22"]
    assert said["0shot"] == "0 worked examples before each question"
    assert dict(explained("mmlu_ppl"))[""].startswith("without a hash")
    assert explained("demo_arithmetic") == []
