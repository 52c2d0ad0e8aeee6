"""Speed for real: the demo model on transformers serve, every length as its tokenizer and the engine count it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import eval_configs
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.settings import Settings
from orchestrator.speed import SpeedResult
from tests.orchestrator.support import Cli

pytestmark = pytest.mark.real
CONFIGS = Path(eval_configs.__file__).parent


def test_the_demo_models_speed_on_transformers_is_measured_at_exact_lengths(tmp_path: Path) -> None:
    root = Settings.load().environments
    recipe = get_engine("transformers").recipe
    assert recipe
    assert Environments(root).find(recipe), f"first: orchestrator install {recipe.name}"
    (tmp_path / "environments").symlink_to(root)
    document = yaml.safe_load((CONFIGS / "jobs" / "bench.yaml").read_text())
    document["serve"]["model"] = str(CONFIGS / "models" / "demo-arithmetic")
    context = {"lengths": [1, 300, 2000], "generate": 64, "repeats": 1}
    throughput = {"input": 64, "output": 32, "prompts": 4, "seed": 2024}
    document["evaluate"][0]["speed"] = {"context": context, "throughput": throughput}
    spec = tmp_path / "bench.yaml"
    spec.write_text(yaml.safe_dump(document))
    cli = Cli(tmp_path)
    done = cli.run("bench", str(spec), "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    result = SpeedResult.model_validate(json.loads(done.stdout)["speed"][0])
    assert result.full_length == "generation_config"
    assert result.tokenizer
    assert result.skipped == ["context 2000: 2000 + 64 tokens do not fit into 2048"]
    assert [(row.context, row.prompt_tokens, row.generated) for row in result.context] == [
        (1, 1, 64.0),
        (300, 300, 64.0),
    ]
    assert all(row.speed and row.memory and row.memory.bytes > 10**8 for row in result.context)
    [batch] = result.throughput
    assert (batch.input, batch.output, batch.failed) == (64, 32.0, 0)
    assert not cli.left()
