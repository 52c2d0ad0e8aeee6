"""The comparison spec: variants by name or as a list, parts of their own, a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import eval_configs
from orchestrator.comparing.gate import Gate, overall
from orchestrator.comparing.intake import is_comparison
from orchestrator.comparing.plan import asked, differing, plan_of
from orchestrator.comparing.running import compared, resumed
from orchestrator.comparing.spec import ComparisonSpec, by_name, jobs_of
from orchestrator.record import State
from tests.orchestrator.comparing.support import EVALUATE, run, verdicts

SHIPPED = Path(eval_configs.__file__).parent / "comparisons" / "three_engines.yaml"
SERVE = {"a": {"engine": "vllm", "model": "m"}, "b": {"engine": "sglang", "model": "m"}}


def spec(**changes: Any) -> ComparisonSpec:
    return ComparisonSpec.model_validate({"serve": SERVE, "evaluate": EVALUATE, **changes})


def test_a_list_of_variants_is_named_by_name_or_engine() -> None:
    vllm = {"engine": "vllm", "model": "m"}
    assert list(by_name([{"name": "x", **vllm}, {"engine": "sglang"}])) == ["x", "sglang"]
    assert list(by_name([vllm, vllm])) == ["vllm-1", "vllm-2"]
    assert spec(serve=[{"name": "x", **vllm}, vllm]).serve.keys() == {"x", "vllm-2"}


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="there twice"):
        spec(serve=[{"name": "x", "engine": "vllm"}, {"name": "x", "engine": "sglang"}])


def test_the_comparison_that_ships_asks_three_engines_the_same() -> None:
    shipped = ComparisonSpec.model_validate(yaml.safe_load(SHIPPED.read_text()))
    assert list(shipped.serve) == ["transformers", "llamacpp", "vllm"]
    assert [one.evaluator for one in shipped.evaluate] == ["opencompass", "lm_eval", "speed"]
    for serve in shipped.serve.values():
        assert (SHIPPED.parent / str(serve.model) / "config.json").is_file()


def test_one_variant_is_no_comparison() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        spec(serve={"a": SERVE["a"]})


def test_the_baseline_is_the_first_or_the_one_that_is_named() -> None:
    assert spec().against == "a"
    assert spec(baseline="b").against == "b"
    with pytest.raises(ValidationError, match="must be one of a, b"):
        spec(baseline="c")


def test_every_variant_is_a_job_with_the_same_questions_and_its_own_parts() -> None:
    own = {"compress": {"tool": "gguf", "scheme": "f32"}, "probe": {"fidelity": {"tolerate": ["greedy_alone"]}}}
    jobs = jobs_of(spec(serve={**SERVE, "b": {**SERVE["b"], **own}}, probe={"max_tokens": 5}, labels={"team": "x"}))
    assert jobs["a"].evaluate == jobs["b"].evaluate
    assert (jobs["a"].compress, jobs["a"].probe.max_tokens) == (None, 5)
    assert jobs["b"].compress
    assert jobs["b"].compress.scheme == "f32"
    assert jobs["b"].probe.fidelity.tolerate == ["greedy_alone"]
    assert jobs["b"].serve.model_dump(exclude_unset=True) == SERVE["b"]
    assert jobs["b"].labels == {"team": "x", "variant": "b"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"serve": SERVE}, True),
        ({"serve": [SERVE["a"]]}, True),
        ({"serve": SERVE["a"]}, False),
        ({"serve": {"engine": "vllm", "env": {}}}, False),
        ({"serve": {}}, False),
        ([], False),
    ],
)
def test_a_document_with_several_served_models_is_a_comparison(document: object, expected: bool) -> None:
    assert is_comparison(document) == expected


def test_what_changes_no_answer_may_differ_between_job_specs() -> None:
    first = asked(EVALUATE)
    assert differing(first, asked([{**EVALUATE[0], "concurrency": 3, "min_coverage": 0.5}])) == []
    assert differing(first, asked([{**EVALUATE[0], "limit": 3}])) == ["evaluate.0.limit"]
    assert differing(first, asked([*EVALUATE, *EVALUATE])) == ["evaluate"]


def test_a_comparison_goes_on_with_what_did_not_succeed(tmp_path: Path) -> None:
    plan = plan_of(spec(serve={**SERVE, "c": SERVE["a"], "d": SERVE["b"]}), tmp_path)
    answered = tmp_path / "c"
    answered.mkdir()
    (answered / "journal").touch()
    runs = {
        "a": run("a", verdicts(True)),
        "b": run("b", [], [], state=State.FAILED),
        "c": run("c", [], [], state=State.CANCELLED, folder=str(answered)),
    }
    found, _ = compared(plan, "id", runs, created="now", ended=True)
    left = resumed(plan, found)
    assert (found.state, [one.state for one in found.variants][-1]) == ("cancelled", "queued")
    assert left.finished == {"a": "jobs/a"}
    assert {name: job.resume for name, job in left.jobs.items()} == {"b": None, "c": "job-c", "d": None}


def test_a_single_no_go_decides_and_go_needs_all() -> None:
    assert overall(["GO", "GO"]) == "GO"
    assert overall(["GO", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert overall(["INCONCLUSIVE", "NO-GO", "GO"]) == "NO-GO"
    assert overall([]) == "INCONCLUSIVE"
    assert Gate(confidence=0.9).no_go_confidence(10) == pytest.approx(0.99)
