"""What is told before anything is leased or started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from launchers.flags import Flags
from launchers.registry import get_engine
from launchers.spec import ServeSpec
from tests.orchestrator.opencompass.test_datasets import plain
from tests.orchestrator.support import Cli

MODEL = Path(__file__).parents[3] / "eval_configs" / "models" / "demo-arithmetic"


def spec_of(folder: Path, *datasets: str, **more: Any) -> Path:
    file = folder / "job.yaml"
    serve = {"engine": "transformers", "model": str(MODEL)}
    evaluate = {"evaluator": "opencompass", "datasets": list(datasets), **more}
    file.write_text(yaml.safe_dump({"serve": serve, "evaluate": [evaluate]}))
    return file


def test_missing_data_is_told_with_what_to_do_and_no_job_begins(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(plain("mine", path="/nowhere/rows.jsonl"))
    done = cli.run("run", str(spec_of(tmp_path, "demo_arithmetic", "mine.py")), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (1, "dataset_missing")
    assert "`mine.py` is not on this machine: /nowhere/rows.jsonl is absent; put it at /nowhere/rows" in told["message"]
    assert not (cli.home / "jobs").exists()


def test_texts_are_not_scored_by_an_engine_that_cannot_and_it_says_which_can(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "likely.csv").write_text("question,A,B,answer\nWhich?,x,y,B\n")
    (tmp_path / "likely.csv.meta.json").write_text('{"infer_method": "ppl"}')
    done = cli.run("run", str(spec_of(tmp_path, "demo_arithmetic", "likely.csv")), "--json")
    (error,) = json.loads(done.stdout)["errors"]
    assert (done.returncode, error["path"]) == (2, "evaluate.0.datasets.1")
    assert "engine `transformers` cannot tell them: it ignores `echo` and `logprobs`; use vllm" in error["message"]


def test_options_of_opencompass_are_refused_for_another_evaluator(cli: Cli, tmp_path: Path) -> None:
    file = spec_of(tmp_path, "demo_arithmetic", opencompass={"prompts": "text"})
    file.write_text(file.read_text().replace("evaluator: opencompass", "evaluator: straight"))
    errors = json.loads(cli.run("run", str(file), "--json").stdout)["errors"]
    assert "evaluate.0.opencompass" in {error["path"] for error in errors}


@pytest.mark.parametrize(
    ("engine", "flags", "extra", "able"),
    [
        ("vllm", [], [], True),
        ("sglang", [], [], True),
        ("transformers", [], [], False),
        ("lmdeploy", [], [], False),
        ("lightllm", [], [], False),
        ("llamacpp", ["--ctx-size"], [], False),
        ("llamacpp", ["--n_ctx"], [], False),
        ("llamacpp", ["--n_ctx"], ["--logits_all", "true"], True),
        ("external", [], [], True),
    ],
)
def test_which_engines_score_texts(engine: str, flags: list[str], extra: list[str], able: bool) -> None:
    spec = ServeSpec(engine=engine, model="m", extra_args=extra)
    known = Flags(engine, "1", frozenset(flags), "help") if flags else None
    assert (get_engine(engine).no_prompt_scores(spec, known) == "") is able
