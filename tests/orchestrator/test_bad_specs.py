"""A bad spec: exit code 2 in under two seconds, every error at once with its path, nothing started."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadSpec
from orchestrator.spec import parse_spec
from tests.orchestrator.support import ROWS, Cli

WriteJob = Callable[..., Path]
EVALUATE = [{"evaluator": "straight", "datasets": [str(ROWS)]}]


def errors_of(document: object) -> dict[str, str]:
    """Path -> message of the errors of form."""
    try:
        _, errors = parse_spec(document)
    except BadSpec as bad:
        return {error.path: error.message for error in bad.errors}
    return {error.path: error.message for error in errors}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"serve": {"engine": "custom", "modle": "x"}, "evaluate": EVALUATE}, {"serve.modle": "`model`"}),
        ({"serve": {"engine": "custom", "port": "1030"}, "evaluate": EVALUATE}, {"serve.port": "'1030'"}),
        ({"serve": {"engine": "custom", "tensor_parallel": 0}, "evaluate": EVALUATE}, {"serve.tensor_parallel": "0"}),
        ({"serve": {"engine": "custom"}, "evaluat": EVALUATE}, {"evaluat": "`evaluate`", "evaluate": "is required"}),
        ({"serve": {"engine": "custom"}, "evaluate": []}, {"evaluate": "at least 1"}),
        (
            {"serve": {"engine": "custom"}, "evaluate": [{**EVALUATE[0], "concurrency": "lots"}]},
            {"evaluate.0.concurrency": "'auto'"},
        ),
        (
            {"serve": {"engine": "custom"}, "evaluate": [{**EVALUATE[0], "generation": {"temprature": 1}}]},
            {"evaluate.0.generation.temprature": "`temperature`"},
        ),
        ({"serve": {"engine": "custom"}, "evaluate": EVALUATE, "labels": {"a": 1}}, {"labels.a": "string"}),
        ([1, 2], {"": "mapping"}),
    ],
)
def test_an_error_of_form_names_its_path_and_what_is_valid(document: object, expected: dict[str, str]) -> None:
    found = errors_of(document)
    assert found.keys() == expected.keys()
    assert all(text in found[path] for path, text in expected.items())


def test_all_errors_of_form_come_together() -> None:
    document = {
        "serve": {"modle": "x", "port": "1030", "seed": -1},
        "evaluate": [{"evaluator": "straight", "datasets": [], "lmit": 3}],
        "lables": {},
    }
    expected = {"serve.engine", "serve.modle", "serve.port", "serve.seed", "lables"}
    assert errors_of(document).keys() == expected | {"evaluate.0.datasets", "evaluate.0.lmit"}


def refused(cli: Cli, spec: Path) -> dict[str, str]:
    """Run it; path -> message. Nothing may be started."""
    done = cli.here("run", str(spec), "--json")
    assert done.returncode == 2, done.stderr
    assert not (cli.home / "jobs").exists()
    found: dict[str, str] = {}
    for error in json.loads(done.stdout)["errors"]:
        found[error["path"]] = f"{found.get(error['path'], '')} {error['message']}"
    return found


@pytest.mark.parametrize(
    ("serve", "path", "said"),
    [
        ({"engine": "vlm"}, "serve.engine", "available: custom"),
        ({"engine": "transfomers"}, "serve.engine", "`transformers`"),
        ({"model": "/no/such/model"}, "serve.model", "does not exist"),
        ({"tensor_parallel": 4}, "serve.tensor_parallel", "needs 4 GPUs"),
        ({"gpus": [0, 0]}, "serve.gpus", "does not exist"),
        ({"command": None}, "serve.command", "needs a command"),
        ({"command": ["run", "--port", "{prot}"]}, "serve.command", "{prot}"),
        ({"command": ["run"]}, "serve.command", "{port}"),
        ({"quantization": "awq"}, "serve.quantization", "does not honour"),
        ({"trust_remote_code": True}, "serve.trust_remote_code", "operator"),
        ({"env": {"CUDA_VISIBLE_DEVICES": "0"}}, "serve.env.CUDA_VISIBLE_DEVICES", "`gpus`"),
        ({"port": 14000, "nccl_port": 14000}, "serve.nccl_port", "two different ports"),
        ({"engine": "transformers", "command": None, "model": str(ROWS.parent)}, "serve.model", "config.json"),
        ({"engine": "external", "command": None}, "serve.url", "needs the URL"),
    ],
)
def test_what_cannot_be_done_here_is_refused_at_once(
    cli: Cli, write_job: WriteJob, serve: dict[str, Any], path: str, said: str
) -> None:
    found = refused(cli, write_job(serve=serve))
    assert said in found[path]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("serve.compress", "unknown key here; belongs at the top of the spec: `compress`"),
        ("max_model_len", "unknown key here; belongs elsewhere: `serve.max_model_len`"),
        ("evaluate.1.top_p", "unknown key here; belongs elsewhere: `evaluate.1.generation.top_p`"),
        ("evaluate.0.speed.load.lengths", "unknown key here; belongs elsewhere: `evaluate.0.speed.context.lengths`"),
        ("probe.timeouts", "unknown key; did you mean `timeout`?"),
        ("gateway.rate_limit", "unknown key; valid here: "),
    ],
)
def test_a_key_in_the_wrong_place_is_told_where_it_belongs(path: str, said: str) -> None:
    evaluate = {"evaluator": "straight", "datasets": ["x"], "speed": {"load": {}}}
    document: dict[str, Any] = {"serve": {"engine": "vllm"}, "evaluate": [evaluate, copy.deepcopy(evaluate)]}
    *parents, key = (int(part) if part.isdecimal() else part for part in path.split("."))
    place: Any = document
    for part in parents:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    place[key] = 1
    [(where, message)] = errors_of(document).items()
    assert where == path
    assert message.startswith(said)


def test_errors_of_form_and_of_substance_come_together(cli: Cli, write_job: WriteJob) -> None:
    spec = write_job(serve={"model": "/no/such/model", "modle": "x", "tensor_parallel": 2}, priority=3, keep_alive=5.0)
    found = refused(cli, spec)
    assert found.keys() == {"serve.modle", "serve.model", "serve.tensor_parallel", "priority", "keep_alive"}


def test_an_unknown_evaluator_and_an_unknown_data_set_are_refused(cli: Cli, write_job: WriteJob) -> None:
    evaluate = [{"evaluator": "strait", "datasets": ["x"]}, {"evaluator": "straight", "datasets": ["nowhere.jsonl"]}]
    found = refused(cli, write_job(evaluate=evaluate))
    assert "`straight`" in found["evaluate.0.evaluator"]
    assert "no such file" in found["evaluate.1.datasets.0"]


def test_sampling_that_the_engine_ignores_is_refused(cli: Cli, write_job: WriteJob) -> None:
    evaluate = [{**EVALUATE[0], "generation": {"temperature": 0.7, "top_k": 5}}]
    found = refused(cli, write_job(serve={"engine": "transformers", "command": None}, evaluate=evaluate))
    assert {"evaluate.0.generation.temperature", "evaluate.0.generation.top_k"} <= found.keys()


def test_a_file_that_cannot_be_read_is_a_bad_spec(cli: Cli, tmp_path: Path) -> None:
    assert "cannot be read" in refused(cli, tmp_path / "none.yaml")[""]
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    assert "written twice" in refused(cli, tmp_path / "twice.yaml")[""]


def test_the_text_for_people_lists_every_error_at_once(cli: Cli, write_job: WriteJob) -> None:
    before = _children_seconds()
    done = cli.run("run", str(write_job(serve={"modle": "x", "port": "1"})))
    assert done.returncode == 2
    assert _children_seconds() - before < 2, "two seconds of processor time: neighbours do not count"
    assert "serve.modle: unknown key; did you mean `model`?" in done.stderr
    assert "serve.port" in done.stderr


def test_a_config_where_a_spec_belongs_is_told_which_commands_take_it(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "eval_x.py"
    config.write_text("models = []\n")
    done = cli.run("up", "--spec", str(config))
    assert done.returncode == 2
    assert "`orchestrator run`, `submit` and `compare` take with an engine: `FILE.py -a ENGINE`" in done.stderr


def test_declared_gpus_are_counted(cli: Cli, write_job: WriteJob) -> None:
    cli.env["ORCHESTRATOR_GPUS"] = "2"
    found = refused(cli, write_job(serve={"tensor_parallel": 2, "replicas": 2}))
    assert "this machine has 2" in found["serve.tensor_parallel"]
    code, job = cli.job(write_job(serve={"tensor_parallel": 2}))
    assert (code, job["resources"]["gpus"]) == (0, [0, 1])
    assert job["resources"]["replicas"][0]["env"]["CUDA_VISIBLE_DEVICES"] == "0,1"


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
