"""Comparisons of real engines: one model on three of them; real differences are found, and only those."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import eval_configs
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.settings import Settings
from tests.orchestrator.support import ROWS, Cli

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]
THREE = Path(eval_configs.__file__).parent / "comparisons" / "three_engines.yaml"
MODEL = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"
PERTURB = Path(__file__).parents[2] / "scripts" / "perturbed_model.py"
THREAD = {"OMP_NUM_THREADS": "1"}
GGUF = {"tool": "gguf", "scheme": "f32"}
REPETITIONS = 20
NOISE = "0.3"
"""Costs the demo model some 13 points; 0.2 costs 3."""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The machine's installed environments, and that of the small evaluator of the tests."""
    root = Settings.load().environments
    wanted = [get_engine(name).recipe for name in ("transformers", "vllm", "llamacpp")]
    for recipe in (*wanted, *(get_evaluator(name).recipe for name in ("opencompass", "lm_eval"))):
        assert recipe
        assert Environments(root).find(recipe), f"first: orchestrator install {recipe.name}"
    home = tmp_path_factory.mktemp("home")
    (home / "environments").mkdir()
    for one in root.iterdir():
        (home / "environments" / one.name).symlink_to(one)
    cli = Cli(home)
    installed = cli.run("install", "straight")
    assert installed.returncode == 0, installed.stderr
    return cli


def compare(cli: Cli, folder: Path, serve: dict[str, Any], *evaluate: dict[str, Any]) -> dict[str, Any]:
    """The document of `compare --json`, of a comparison in which every job succeeds."""
    spec = folder / "comparison.yaml"
    spec.write_text(yaml.safe_dump({"serve": serve, "evaluate": list(evaluate)}, sort_keys=False))
    return compared(cli, spec)


def compared(cli: Cli, spec: Path) -> dict[str, Any]:
    """As `compare`, of a comparison that is written already."""
    done = cli.run("compare", str(spec), "--json", timeout=3500)
    assert done.returncode == 0, done.stderr
    assert not cli.left()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_one_model_on_three_engines_scores_alike_where_it_answers_alike(cli: Cli) -> None:
    found = compared(cli, THREE)
    base, *others = found["variants"]
    assert [one["state"] for one in found["variants"]] == ["succeeded"] * 3
    for other in others:
        assert [row["evaluator"] for row in other["differences"]] == ["opencompass", "lm_eval"]
        for row, old, new in zip(other["differences"], base["results"], other["results"], strict=True):
            unequal = row["pairs"] - row["equal_outputs"]
            assert row["pairs"] == 200
            assert row["lost"] + row["won"] <= unequal
            assert unequal <= 10  # ties between two tokens, decided by rounding
            assert row["p_adjusted"] > 0.05
            assert new["score"] == pytest.approx(old["score"] + row["difference"])
        assert other["speed"]["speed_up"] > 0
        assert [ratio["part"] for ratio in other["speed_ratios"]] == ["context"] * 4 + ["throughput"]
        assert other["fidelity"]["findings"]
    report = (cli.home / "comparisons" / found["id"] / "comparison.md").read_text()
    assert "| check | transformers | llamacpp | vllm |" in report


@pytest.mark.parametrize(
    "engine",
    [{"engine": "llamacpp", "compress": GGUF}, {"engine": "transformers", "env": THREAD}],
    ids=lambda e: e["engine"],
)
def test_perturbed_weights_are_found_every_time_and_a_restart_never(
    cli: Cli, tmp_path: Path, engine: dict[str, Any]
) -> None:
    engine = {**engine, "served_model_name": "demo"}
    serve = {"plain": {**engine, "model": str(MODEL)}}
    for seed in range(1, REPETITIONS + 1):
        noisy = tmp_path / f"noisy-{seed}"
        argv = [sys.executable, str(PERTURB), str(MODEL), str(noisy), "--noise", NOISE, "--seed", str(seed)]
        subprocess.run(argv, check=True)
        serve[f"again-{seed}"] = {**engine, "model": str(MODEL)}
        serve[f"noisy-{seed}"] = {**engine, "model": str(noisy)}
    found = compare(cli, tmp_path, serve, {"evaluator": "straight", "datasets": [str(ROWS)]})
    values = {one["name"]: one["differences"][0]["p_adjusted"] for one in found["variants"][1:]}
    assert len(values) == 2 * REPETITIONS
    assert [name for name, p in values.items() if p < 0.05] == [name for name in values if name.startswith("noisy")]
