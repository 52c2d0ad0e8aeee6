from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.orchestrator.lm_eval.support import MODEL
from tests.orchestrator.support import Cli

WriteJob = Callable[..., Path]


def errors_of(cli: Cli, job: Path) -> dict[str, str]:
    done = cli.run("run", str(job), "--json")
    assert done.returncode == 2
    assert not list(cli.home.glob("jobs/*"))
    return {error["path"]: error["message"] for error in json.loads(done.stdout)["errors"]}


def test_scores_of_texts_are_refused_on_an_engine_that_gives_none_with_the_reason(
    cli: Cli, write_job: WriteJob
) -> None:
    evaluate = [{"evaluator": "lm_eval", "datasets": ["demo_arithmetic", "demo_choices"]}]
    job = write_job(serve={"engine": "transformers", "model": str(MODEL), "command": None}, evaluate=evaluate)
    errors = errors_of(cli, job)
    assert list(errors) == ["evaluate.0.datasets.1"]
    assert "ignores `echo` and `logprobs`" in errors["evaluate.0.datasets.1"]


def test_what_only_lm_eval_understands_is_refused_beside_another_evaluator(cli: Cli, write_job: WriteJob) -> None:
    evaluate = [{"evaluator": "straight", "datasets": ["x"], "lm_eval": {"num_fewshot": 3}}]
    assert "is for evaluator `lm_eval`" in errors_of(cli, write_job(evaluate=evaluate))["evaluate.0.lm_eval"]
