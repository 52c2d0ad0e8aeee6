"""The fidelity probe on transformers serve and the demo model, whose ways are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eval_configs
from clients.fidelity.checks import fidelity
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.settings import Settings
from tests.orchestrator.support import Cli

pytestmark = pytest.mark.real
MODEL = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"
SECONDS = 20
"""That the probe may take on two busy processors; it takes 3 on free ones."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, str]]:
    """The command line and the URL of a transformers server of the demo model."""
    root = Settings.load().environments
    recipe = get_engine("transformers").recipe
    assert recipe
    assert Environments(root).find(recipe), f"first: orchestrator install {recipe.name}"
    home = tmp_path_factory.mktemp("home")
    (home / "environments").symlink_to(root)
    cli = Cli(home)
    argv = ("up", "--engine", "transformers", "--model", str(MODEL), "--name", "probed", "--detach", "--json")
    up = cli.run(*argv, timeout=240)
    assert up.returncode == 0, up.stderr
    yield cli, json.loads(up.stdout)["url"]
    assert cli.run("down", "probed").returncode == 0
    assert not cli.left()


def test_transformers_counts_as_the_model_does_and_its_known_ways_are_noted(served: tuple[Cli, str]) -> None:
    cli, url = served
    done = cli.run("probe", url, "--model", MODEL.name, "--fidelity", "--tokenizer", str(MODEL), "--json", timeout=240)
    assert done.returncode == 0, done.stdout
    checked: dict[str, Any] = json.loads(done.stdout)["fidelity"]
    found = {one["name"]: one for one in checked["findings"]}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "answers": "ok",
        "prompt_tokens": "ok",
        "prompt_tokens_completions": "ok",
        "greedy_alone": "ok",
        "greedy_batch": "ok",
        "max_tokens": "ok",
        "stop_strings": "note",
        "generation_config": "note",
        "temperature": "note",
        "logprobs_chat": "note",
        "logprobs_completions": "note",
        "prompt_scores": "note",
        "token_ids": "note",
        "generate": "ok",
        "over_long": "note",
    }
    assert len(found["prompt_tokens"]["data"]["counts"]) == 3
    assert (found["stop_strings"]["data"]["effect"], found["generation_config"]["data"]["status"]) == ("kept", 422)
    assert found["over_long"]["data"]["prompt_tokens"] > found["over_long"]["data"]["context"] == 2048
    assert checked["seconds"] < SECONDS


async def test_another_template_than_that_of_the_engine_falsifies(served: tuple[Cli, str], tmp_path: Path) -> None:
    drifted = tmp_path / "drifted.jinja"
    drifted.write_text((MODEL / "chat_template.jinja").read_text() + "Answer:\n")
    checked = await fidelity(served[1], model=MODEL.name, tokenizer=MODEL, chat_template=drifted)
    assert [one.name for one in checked.falsifying] == ["prompt_tokens"]
    assert "another chat template" in checked.falsifying[0].fact
