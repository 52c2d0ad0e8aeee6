from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from launchers.environments import Environment
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.base import Command, Target
from orchestrator.evaluators.opencompass.resolved import read_resolved
from orchestrator.spec.models import EvaluateSpec, Generation
from orchestrator.spec.opencompass import JudgeSpec, OpenCompassSpec
from tests.orchestrator.opencompass.real_opencompass import EVALUATOR, collect


def prepared(folder: Path, model: str = "tiny", **spec: Any) -> tuple[Command, str, dict[str, Any]]:
    """The command, the text of the config, and the model that it declares."""
    folder.mkdir()
    environment = Environment("opencompass", folder, folder / "bin/python", {}, "", "")
    asked = EvaluateSpec(**{"evaluator": "opencompass", "datasets": ["demo_arithmetic"], **spec})
    target = Target("http://127.0.0.1:4/v1", model, 48)
    command = EVALUATOR.prepare(asked, folder, environment, target, folder)
    text = (folder / "config/eval.py").read_text()
    (declared,) = read_resolved(folder / "config/eval.py")["models"]
    return command, text, declared


def test_the_model_is_asked_through_the_gateway_and_failures_are_marked(tmp_path: Path) -> None:
    _, _, model = prepared(tmp_path / "run")
    assert (model["openai_api_base"], model["path"]) == ("http://127.0.0.1:4/v1", "tiny")
    assert (model["max_workers"], model["temperature"], model["max_out_len"]) == (48, 0.0, 1024)
    assert model["openai_extra_kwargs"] == {"extra_headers": {"x-orchestrator-on-failure": "mark"}}
    assert model["http_client_cfg"] == {"trust_env": False}


def test_only_set_generation_parameters_are_sent(tmp_path: Path) -> None:
    generation = Generation(temperature=0.5, top_p=0.9, repetition_penalty=1.1, seed=0, stop=["\n\n", "'\""])
    _, _, model = prepared(tmp_path / "run", generation=generation)
    extra = {name: value for name, value in model["openai_extra_kwargs"].items() if name != "extra_headers"}
    assert (model["temperature"], extra) == (0.5, {"top_p": 0.9, "seed": 0, "stop": ["\n\n", "'\""]})
    assert model["extra_body"] == {"repetition_penalty": 1.1}


@pytest.mark.parametrize("name", ["Qwen-o1-mini", "pico3", "foo4", "gpt-5-clone"])
def test_a_name_that_opencompass_would_take_for_openais_is_replaced_and_told(tmp_path: Path, name: str) -> None:
    _, text, model = prepared(tmp_path / "run", model=name)
    assert model["path"] == "served-model"
    assert f"stands for {name!r}" in text


def test_a_model_that_is_a_path_gives_a_plain_name_for_the_result_folders(tmp_path: Path) -> None:
    _, _, model = prepared(tmp_path / "run", model="/some where/My Model:7b/")
    assert model["abbr"].startswith("My-Model-7b-")
    other = prepared(tmp_path / "other", model="/some where/My Model:7b/", limit=3)[2]
    assert other["abbr"] != model["abbr"]


def test_texts_are_scored_and_completed_by_a_model_of_ours_and_by_theirs_otherwise(tmp_path: Path) -> None:
    command, text, model = prepared(tmp_path / "run", opencompass=OpenCompassSpec(prompts="text"))
    assert "from orchestrated.served import ServedInferTask, ServedModel" in text
    assert (model["type"], model["text"], model["meta_template"]) == ("ServedModel", True, None)
    assert (Path(command.env["PYTHONPATH"]) / "orchestrated/served.py").is_file()
    assert "orchestrated.served" not in prepared(tmp_path / "plain")[1]


def test_a_meta_template_of_the_users_takes_the_place_of_ours(tmp_path: Path) -> None:
    template = {"round": [{"role": "HUMAN", "begin": "Q: ", "end": "\n"}, {"role": "BOT", "generate": True}]}
    options = OpenCompassSpec(prompts="text", meta_template=template)
    assert prepared(tmp_path / "run", opencompass=options)[2]["meta_template"] == template


def test_a_file_of_data_becomes_an_entry_that_opencompass_completes(tmp_path: Path) -> None:
    rows = tmp_path / "my rows.csv"
    rows.write_text("question,A,B,answer\nWhich?,x,y,B\n")
    (tmp_path / "my rows.csv.meta.json").write_text('{"infer_method": "ppl", "test_range": "[5:]"}')
    prepared(tmp_path / "run", datasets=[str(rows)], limit=3)
    (entry,) = read_resolved(tmp_path / "run/config/eval.py")["datasets"]
    wanted = {"path": str(rows), "abbr": "my rows", "data_type": "mcq", "infer_method": "ppl"}
    assert entry == {**wanted, "test_range": "[5:][0:3]"}


def test_the_judges_key_is_named_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WISE_KEY", "top-secret")
    judge = JudgeSpec(server="http://127.0.0.1:9/", model="wise", api_key_variable="WISE_KEY")
    command, text, _ = prepared(tmp_path / "run", opencompass=OpenCompassSpec(judge=judge))
    assert "top-secret" not in text + repr(command)
    assert command.argv[:3] == ("/bin/sh", "-c", 'OPENAI_API_KEY="$WISE_KEY" exec "$@"')
    assert read_resolved(tmp_path / "run/config/eval.py")["judge"]["openai_api_base"] == "http://127.0.0.1:9/v1"


def test_limit_and_length_change_the_data_sets_only_when_given(tmp_path: Path) -> None:
    plain = prepared(tmp_path / "plain")[1]
    assert "test_range" not in plain
    assert 'inferencer"]["max_out_len"]' not in plain
    changed = prepared(tmp_path / "changed", limit=9, generation=Generation(max_tokens=33))[1]
    assert '+ "[0:9]"' in changed
    assert 'dataset["infer_cfg"]["inferencer"]["max_out_len"] = 33' in changed
    ast.parse(changed)


def test_a_files_own_relative_imports_work_through_a_link_to_its_folder(tmp_path: Path) -> None:
    _, text, _ = prepared(tmp_path / "run")
    assert "from .own_0.demo_arithmetic import demo_arithmetic_datasets as set_0_0" in text
    assert (tmp_path / "run/config/own_0/demo_arithmetic.py").is_file()


def test_the_command_is_offline_without_gpus_and_writes_into_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command, _, _ = prepared(folder)
    assert command.argv[1:4] == ("-m", "orchestrated.quickly", "opencompass.cli.main:main")
    assert command.argv[4:] == (str(folder / "config/eval.py"), "-w", str(folder / "out"))
    assert command.cwd.is_dir()
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    assert {**offline, "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(folder / "tmp")}.items() <= command.env.items()


def test_the_tokenizer_that_counts_is_complete(tmp_path: Path) -> None:
    _, _, model = prepared(tmp_path / "run")
    counter = Path(model["tokenizer_path"])
    assert json.loads((counter / "tokenizer.json").read_text())["model"]["type"] == "WordLevel"
    assert (counter / "tokenizer_config.json").is_file()


def test_a_death_before_the_first_question_is_told_with_its_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "opencompass-0"
    prepared(folder)
    log = tmp_path / "logs" / "opencompass-0.log"
    log.parent.mkdir()
    log.write_text("Traceback (most recent call last):\n  File x\nImportError: numpy is too new\n")
    with pytest.raises(EvaluatorFailed, match="numpy is too new") as caught:
        collect(folder)
    assert str(log) in caught.value.hint


def test_a_resolved_config_is_read_without_importing_anything(tmp_path: Path) -> None:
    file = tmp_path / "resolved.py"
    file.write_text("a=dict(b=[1, 'x' 'y'], c=dict({'d-e': (None, -2)}, f=True))\ng=some.thing(3)")
    assert read_resolved(file) == {
        "a": {"b": [1, "xy"], "c": {"d-e": [None, -2], "f": True}},
        "g": "some.thing(3)",
    }
