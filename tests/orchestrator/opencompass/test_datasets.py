from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from launchers.environments import Environment
from orchestrator.evaluators.base import Target
from orchestrator.evaluators.opencompass.datasets import DatasetConfig, find_dataset, find_datasets, package_of
from orchestrator.evaluators.opencompass.source import read_source
from orchestrator.spec.models import EvaluateSpec
from orchestrator.spec.opencompass import OpenCompassSpec
from tests.orchestrator.opencompass.real_opencompass import EVALUATOR, opencompass_environment

PLAIN = """
{name}_datasets = [dict(abbr="{name}", type={kind}, path={path!r}, reader_cfg=dict(), {more}
    infer_cfg=dict(inferencer=dict(type={inferencer})), eval_cfg=dict(evaluator=dict(type={evaluator})))]
"""


def plain(
    name: str,
    *,
    inferencer: str = "GenInferencer",
    evaluator: str = "Acc",
    path: str = "x",
    more: str = "",
    kind: str = "Some",
) -> str:
    return PLAIN.format(name=name, inferencer=inferencer, evaluator=evaluator, path=path, more=more, kind=kind)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def installed(tmp_path: Path) -> Environment:
    """An environment whose OpenCompass holds a few configs in the layout of the real one."""
    package = tmp_path / "env/lib/python3.11/site-packages/opencompass"
    for place in ("configs/datasets/one", "configs/datasets/two", "utils"):
        (package / place).mkdir(parents=True)
    written(
        package / "configs/datasets/one",
        sums_gen="with read_base():\n    from .sums_gen_123abc import sums_datasets\n",
        sums_gen_123abc=plain("sums", path="ids/sums"),
        same_gen=plain("same"),
        sums_ppl=plain("sums", inferencer="PPLInferencer"),
        collection="with read_base():\n    from opencompass.configs.datasets.one.sums_ppl import sums_datasets\n",
        judged=plain("judged", evaluator="GenericLLMEvaluator"),
        repeated=plain("repeated", more="n=4, k=2,"),
        settings="names = ['a']",
        same_gen_of_one=plain("same"),
        hub_gen=plain("hub", kind="OnTheHub", path="people/trivia"),
        clp=plain("clp", inferencer="CLPInferencer"),
        fancy_gen=plain("fancy", evaluator="FancyEvaluator"),
        lost_gen="with read_base():\n    from .nowhere import sums_datasets\n",
        code_gen=plain("code", evaluator="HumanEvalEvaluator"),
        sent_gen=plain("sent", evaluator="HumanevalXEvaluator"),
        likely_gen="with read_base():\n    from .sums_gen_123abc import sums_datasets\n",
    )
    (package / "configs/summarizers").mkdir()
    (package / "configs/summarizers/medium.py").write_text("summarizer = dict(summary_groups=[])")
    written(package / "configs/datasets/two", same_gen=plain("same"))
    (package / "datasets").mkdir()
    (package / "datasets/hub.py").write_text("class OnTheHub(Base):\n    load = lambda path: load_dataset(path)\n")
    (package / "datasets/judges.py").write_text(
        "class FancyEvaluator(Base):\n    def score(self):\n"
        "        import json, fancy_metric.core\n        from opencompass import x\n"
        "        if self.other:\n            import rare_metric\n"
    )
    (package / "utils/datasets_info.py").write_text(
        'DATASETS_MAPPING = {"ids/sums": {"ms_id": None, "local": "./data/sums/"}}\n'
        'DATASETS_URL = {"/sums": {"url": "http://archive.test/sums.zip"}}\n'
    )
    return Environment("opencompass", tmp_path / "env", tmp_path / "env/bin/python", {}, "", "")


def refusals(
    environment: Environment | None, *names: str, base: Path = Path("/"), limit: int | None = None, **options: Any
) -> dict[str, str]:
    spec = asked(*names, limit=limit, **options)
    return {one.field: one.message for one in EVALUATOR.refusals(spec, base, environment)}


def asked(*names: str, limit: int | None = None, **options: Any) -> EvaluateSpec:
    given = OpenCompassSpec.model_validate(options) if options else None
    return EvaluateSpec(evaluator="opencompass", datasets=list(names), limit=limit, opencompass=given)


def absent(environment: Environment | None, *names: str) -> dict[str, str]:
    return {one.field: one.message for one in EVALUATOR.missing_data(asked(*names), Path("/"), environment)}


def test_our_own_data_set_is_found_without_opencompass_installed() -> None:
    assert refusals(None, "demo_arithmetic") == {}


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    assert "`demo_arithmetic`" in refusals(None, "demo_arithmetik")["datasets.0"]


def test_without_opencompass_its_names_are_refused_with_the_command_that_installs_it() -> None:
    assert "orchestrator install opencompass" in refusals(None, "demo_arithmetic", "gsm8k_gen")["datasets.1"]


def test_a_folder_name_is_answered_with_the_configs_that_start_with_it(installed: Environment) -> None:
    assert "`sums_gen`" in refusals(installed, "sums")["datasets.0"]


def test_a_name_of_two_configs_is_refused_and_folder_and_stem_accepted(installed: Environment) -> None:
    assert "`one/same_gen`, `two/same_gen`" in refusals(installed, "same_gen")["datasets.0"]
    assert refusals(installed, "two/same_gen") == {}


def test_a_name_resolves_to_a_module_of_the_package(installed: Environment) -> None:
    found = find_dataset("two/same_gen", Path("/"), package_of(installed), None)
    assert (found.module, found.variables) == ("opencompass.configs.datasets.two.same_gen", ("same_datasets",))


def test_absent_data_is_told_with_the_place_and_the_commands_that_bring_it(
    installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPASS_DATA_CACHE", str(tmp_path / "cache"))
    assert refusals(installed, "sums_gen") == {}
    message = absent(installed, "sums_gen")["datasets.0"]
    folder = tmp_path / "cache/data"
    assert f"{folder / 'sums'} is absent" in message
    assert f"mkdir -p {folder} && cd {folder} && curl -LO http://archive.test/sums.zip && unzip -o sums.zip" in message
    (folder / "sums").mkdir(parents=True)
    assert absent(installed, "sums_gen") == {}


def test_a_data_set_of_the_hub_is_looked_for_in_its_cache(
    installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub home"))
    assert "hf download --repo-type dataset people/trivia" in absent(installed, "hub_gen")["datasets.0"]
    (tmp_path / "hub home/hub/datasets--people--trivia").mkdir(parents=True)
    assert absent(installed, "hub_gen") == {}


def test_data_that_only_loading_can_tell_is_not_called_absent(installed: Environment) -> None:
    assert absent(installed, "same_gen_of_one") == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clp", "CLPInferencer, which needs the probabilities of the whole vocabulary"),
        ("fancy_gen", "scored with fancy_metric, not installed beside OpenCompass: "),
        ("sent_gen", "sends the model's programs to a service"),
        ("lost_gen", "nowhere.py, which is not there"),
        ("settings", "defines no list of data sets"),
    ],
)
def test_what_cannot_be_asked_or_scored_is_refused(installed: Environment, name: str, said: str) -> None:
    assert said in refusals(installed, name)["datasets.0"]


def test_a_judge_is_asked_for_where_one_is_needed_and_has_to_be_reachable(
    installed: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    assert "`judged` is scored by a judge model" in refusals(installed, "judged")["opencompass.judge"]
    assert refusals(installed, "judged", judge={"server": "http://h:1", "model": "m"}) == {}
    assert "which `model`" in refusals(installed, "judged", judge={"server": "http://h:1"})["opencompass.judge"]
    keyed = {"server": "http://h:1", "model": "m", "api_key_variable": "NO_SUCH_KEY_HERE"}
    assert "NO_SUCH_KEY_HERE" in refusals(installed, "judged", judge=keyed)["opencompass.judge.api_key_variable"]
    message = refusals(installed, "judged", judge={"server": "wise"})["opencompass.judge"]
    assert "deployment `wise`, the judge, does not exist: `orchestrator up --name wise" in message


def test_programs_and_a_judge_are_not_scored_in_one_process(installed: Environment) -> None:
    judge = {"server": "http://h:1", "model": "m"}
    assert refusals(installed, "code_gen", judge=judge) == {}
    assert "in two entries of `evaluate`" in refusals(installed, "judged", "code_gen", judge=judge)["datasets.1"]


def test_data_sets_scored_by_perplexity_are_told_apart(installed: Environment) -> None:
    spec = asked("sums_gen", "sums_ppl", "collection")
    assert EVALUATOR.scored_by_likelihood(spec, Path("/"), installed) == ["datasets.1", "datasets.2"]


def test_a_pattern_means_every_config_that_fits_but_each_of_them_once(installed: Environment) -> None:
    found = find_datasets("sums*", Path("/"), package_of(installed), None)
    assert [config.name for config in found] == ["one/sums_gen_123abc", "one/sums_ppl"]
    assert "fits the pattern `zzz*`" in refusals(installed, "zzz*")["datasets.0"]


def test_a_summarizer_is_found_by_its_name_or_path(installed: Environment, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("summarizer = dict(summary_groups=[])")
    (tmp_path / "empty.py").write_text("names = []")
    assert refusals(installed, "same_gen_of_one", summarizer="medium") == {}
    assert refusals(installed, "same_gen_of_one", summarizer=str(tmp_path / "mine.py")) == {}
    wrong = {"mediun": "nearest: `medium`", str(tmp_path / "empty.py"): "defines no `summarizer`"}
    for name, said in wrong.items():
        assert said in refusals(installed, "same_gen_of_one", summarizer=name)["opencompass.summarizer"]


def test_files_that_a_spec_makes_opencompass_read_are_named(installed: Environment, tmp_path: Path) -> None:
    imported = "with read_base():\n    from .parts import part_datasets as mine_datasets\n"
    written(tmp_path, mine=imported, parts=plain("part"), sums="summarizer = dict()")
    (tmp_path / "rows.jsonl").write_text('{"question": "?", "answer": "!"}\n')
    spec = asked("same_gen_of_one", "mine.py", "rows.jsonl", summarizer="sums.py")
    found = EVALUATOR.paths_read(spec, tmp_path)
    assert found == [tmp_path / name for name in ("mine.py", "parts.py", "rows.jsonl", "sums.py")]


def test_a_limit_is_refused_only_where_questions_are_repeated(installed: Environment) -> None:
    assert "asks each question 4 times" in refusals(installed, "repeated", limit=10)["datasets.0"]
    assert refusals(installed, "repeated") == {}


def test_every_bad_name_is_reported_at_its_own_place(installed: Environment) -> None:
    found = refusals(installed, "demo_arithmetic", "nothing_like_it", "settings", "demo_arithmetic")
    assert sorted(found) == ["datasets.1", "datasets.2", "datasets.3"]


def test_a_path_is_looked_up_from_the_specs_folder(tmp_path: Path) -> None:
    written(tmp_path, mine=plain("mine"), broken="this is ( not Python")
    assert refusals(None, "mine.py", str(tmp_path / "mine.py"), base=tmp_path) == {}
    assert str(tmp_path / "other.py") in refusals(None, "other.py", base=tmp_path)["datasets.0"]
    assert "cannot be read as a Python file" in refusals(None, "broken.py", base=tmp_path)["datasets.0"]


def test_a_file_that_cannot_be_imported_by_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my-set.py").write_text(plain("mine"))
    assert "rename it" in refusals(None, "my-set.py", base=tmp_path)["datasets.0"]


def test_lists_that_another_list_is_made_of_are_not_taken_twice(tmp_path: Path) -> None:
    written(
        tmp_path,
        a=plain("a"),
        b=plain("b"),
        added="with read_base():\n    from .a import a_datasets\n    from .b import b_datasets\n"
        "all_datasets = a_datasets + b_datasets",
        kept="with read_base():\n    from .a import *\n    from .b import b_datasets as other_datasets\n"
        "for one in a_datasets:\n    one['n'] = 1",
        varied="with read_base():\n    from .a import a_datasets\n"
        "b_datasets = [dict(a_datasets[0], abbr='b')]\n"
        "c_datasets = [dict(one, abbr='c') for one in b_datasets]",
        summed="with read_base():\n    from .a import a_datasets\n"
        "datasets = []\nmine_datasets = sum((v for k, v in locals().items()), [])",
    )
    files = ("added", "kept", "varied", "summed")
    found = {name: read_source(tmp_path / f"{name}.py", None).variables for name in files}
    assert found == {
        "added": ("all_datasets",),
        "kept": ("a_datasets", "other_datasets"),
        "varied": ("a_datasets", "b_datasets", "c_datasets"),
        "summed": ("mine_datasets",),
    }


@pytest.mark.real
def test_a_wrong_name_is_refused_fast_among_the_real_configs() -> None:
    environment = opencompass_environment()
    began = time.process_time()
    message = refusals(environment, "gms8k_gen")["datasets.0"]
    assert time.process_time() - began < 0.5
    assert "`gsm8k_gen`" in message


@pytest.mark.real
def test_real_configs_resolve_and_what_they_need_is_known() -> None:
    environment = opencompass_environment()
    package = package_of(environment)
    assert package is not None
    assert find_dataset("mmlu_ppl", Path("/"), package, None).needs == {"scores"}
    assert find_dataset("humaneval_gen", Path("/"), package, None).needs == {"sandbox"}
    assert find_dataset("aime2024_llmjudge_gen", Path("/"), package, None).needs == {"judge"}
    (source := read_source(package / "configs/datasets/gsm8k/gsm8k_gen.py", package))
    assert source.variables == ("gsm8k_datasets",)
    assert source.data == (("GSM8KDataset", "opencompass/gsm8k"),)
    ours = find_dataset("demo_arithmetic", Path("/"), package, None)
    assert ours == DatasetConfig("demo_arithmetic", ours.file, None, ("demo_arithmetic_datasets",))


WHOLE = """
from mmengine.config import read_base
from opencompass.models import HuggingFacewithChatTemplate

with read_base():
    from opencompass.configs.datasets.demo.demo_gsm8k_chat_gen import gsm8k_datasets
    from opencompass.configs.datasets.demo.demo_math_chat_gen import math_datasets
    from opencompass.configs.summarizers.example import summarizer

datasets = [*gsm8k_datasets, *math_datasets]
models = [dict(type=HuggingFacewithChatTemplate, abbr="m", path="m", max_out_len=64, batch_size=8,
               run_cfg=dict(num_gpus=2), stop_words=["</s>"])]
"""
LISTED = """
from mmengine.config import Config
config = Config.fromfile("eval.py", format_python_code=False)
names = [one["abbr"] for one in config["datasets"]]
print(names, config["models"][0]["abbr"], "summary_groups" in config["summarizer"])
"""


@pytest.mark.real
def test_of_a_whole_config_the_data_sets_and_the_summarizer_are_taken_and_its_models_are_not(tmp_path: Path) -> None:
    environment = opencompass_environment()
    (tmp_path / "eval_mine.py").write_text(WHOLE)
    spec = asked("eval_mine.py", summarizer="eval_mine.py")
    assert refusals(environment, "eval_mine.py", base=tmp_path, summarizer="eval_mine.py") == {}
    folder = tmp_path / "run"
    folder.mkdir()
    EVALUATOR.prepare(spec, tmp_path, environment, Target("http://127.0.0.1:9/v1", "served", 4), folder)
    argv = [str(environment.python), "-c", LISTED]
    done = subprocess.run(argv, cwd=folder / "config", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    names, _, rest = done.stdout.strip().rpartition("] ")
    assert names == "['demo_gsm8k', 'demo_math'"
    assert re.fullmatch("served-[0-9a-f]{8} True", rest)
