from __future__ import annotations

import pytest

from orchestrator.evaluators.opencompass.datasets import OUR_CONFIGS
from orchestrator.spec.models import EvaluateSpec, Generation
from tests.orchestrator.opencompass.real_opencompass import DATA, Run, run_opencompass

OWN_CONFIG = f"""
from mmengine.config import read_base
from opencompass.openicl.icl_evaluator import AccEvaluator

with read_base():
    from .base import demo_arithmetic_datasets as originals

easy_datasets = [dict(originals[0], abbr="mine/easy", path={str(DATA.parent)!r}, reader_cfg=dict(
    input_columns=["question"], output_column="answer", test_range="[100:]"))]
hard_datasets = [dict(easy_datasets[0], abbr="demo_arithmetic")]
both_datasets = easy_datasets + hard_datasets
compared_datasets = [dict(easy_datasets[0], abbr="compared", eval_cfg=dict(
    evaluator=dict(type=AccEvaluator),
    pred_postprocessor=originals[0]["eval_cfg"]["pred_postprocessor"],
    dataset_postprocessor=originals[0]["eval_cfg"]["dataset_postprocessor"]))]
"""


@pytest.fixture(scope="session")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All questions; the engine answers every one, a fifth of them wrong."""
    spec = EvaluateSpec(evaluator="opencompass", datasets=["demo_arithmetic"])
    place = tmp_path_factory.mktemp("clean")
    return run_opencompass(spec, place, "--answers", str(DATA), "--wrong-rate", "0.2")


@pytest.fixture(scope="session")
def failing_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """40 questions each of four data sets, three of them from a file of the user's; a tenth of the prompts fail."""
    place = tmp_path_factory.mktemp("failing")
    sets = place / "my sets"
    sets.mkdir()
    (sets / "base.py").symlink_to(OUR_CONFIGS / "demo_arithmetic.py")
    (sets / "mine.py").write_text(OWN_CONFIG)
    spec = EvaluateSpec(
        evaluator="opencompass",
        datasets=["demo_arithmetic", "my sets/mine.py"],
        limit=40,
        generation=Generation(max_tokens=77, top_p=0.5, top_k=3, seed=7, stop=["Question:"]),
    )
    options = ("--answers", str(DATA), "--fail-prompts", "0.1")
    return run_opencompass(spec, place / "job", *options, base=place)


@pytest.fixture(scope="session")
def empty_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """60 questions straight to an engine that answers a tenth of them with nothing."""
    spec = EvaluateSpec(evaluator="opencompass", datasets=["demo_arithmetic"], limit=60)
    options = ("--answers", str(DATA), "--empty-prompts", "0.1")
    return run_opencompass(spec, tmp_path_factory.mktemp("empty"), *options, through_gateway=False)
