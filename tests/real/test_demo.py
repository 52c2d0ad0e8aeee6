"""The main job for real, its answers checked against the engine asked directly."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import eval_configs
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.settings import Settings
from tests.orchestrator.support import Cli, wait_for

pytestmark = pytest.mark.real
CONFIGS = Path(eval_configs.__file__).parent
MODEL = CONFIGS / "models" / "demo-arithmetic"


@pytest.fixture(scope="module")
def real_cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line with the machine's installed environments and a home of its own."""
    root = Settings.load().environments
    for recipe in (get_engine("transformers").recipe, get_evaluator("opencompass").recipe):
        assert recipe
        assert Environments(root).find(recipe), f"first: orchestrator install {recipe.name}"
    home = tmp_path_factory.mktemp("home")
    (home / "environments").symlink_to(root)
    return Cli(home)


@pytest.fixture(scope="module")
def demo(real_cli: Cli) -> dict[str, Any]:
    """The record of one `orchestrator demo`."""
    done = real_cli.run("demo", "--json", timeout=300)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def samples_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(record["folder"]) / "samples.jsonl").read_text().splitlines()]


def test_the_demo_succeeds_with_full_coverage_and_a_clean_teardown(demo: dict[str, Any], real_cli: Cli) -> None:
    result = demo["results"][0]
    assert (demo["state"], demo["failure"]) == ("succeeded", None)
    assert (result["dataset"], result["metric"]) == ("demo_arithmetic", "accuracy")
    assert (result["asked"], result["answered"], result["failed"], result["coverage"]) == (200, 200, 0, 1.0)
    assert 50 < result["score"] < 95
    assert result["interval"][0] < result["score"] < result["interval"][1]
    assert demo["gateway"]["asked"] == demo["gateway"]["answered"] == 200
    assert demo["teardown"]["clean"]
    assert demo["teardown"]["processes"] >= 1
    assert not real_cli.left()
    assert "83" in Path(demo["report"]).read_text()


def test_every_answer_equals_the_one_that_the_engine_gives_when_it_is_asked_directly(
    demo: dict[str, Any], real_cli: Cli
) -> None:
    samples = samples_of(demo)
    up = real_cli.run("up", "--spec", str(CONFIGS / "jobs" / "demo.yaml"), "--name", "direct", "--detach", "--json")
    url = json.loads(up.stdout)["url"]

    def ask(sample: dict[str, Any]) -> str:
        body = {
            "model": "demo-arithmetic",
            "messages": [{"role": "user", "content": sample["prompt"].removeprefix("HUMAN: ")}],
            "temperature": 0,
            "max_tokens": 128,
        }
        request = urllib.request.Request(
            f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])

    try:
        with ThreadPoolExecutor(2) as pool:
            direct = list(pool.map(ask, samples))
    finally:
        assert real_cli.run("down", "direct").returncode == 0
    assert [sample["output"] for sample in samples] == direct
    right = sum(
        _last_number(text) == sample["gold"].rsplit("#### ", 1)[1] for text, sample in zip(direct, samples, strict=True)
    )
    assert demo["results"][0]["score"] == pytest.approx(100 * right / len(samples))
    assert not real_cli.left()


def test_an_unknown_data_set_is_refused_with_the_nearest_names_before_anything_starts(
    real_cli: Cli, tmp_path: Path
) -> None:
    document = yaml.safe_load((CONFIGS / "jobs" / "demo.yaml").read_text())
    document["serve"]["model"] = str(MODEL)
    document["evaluate"][0]["datasets"] = ["demo_aritmetic", "gsm8k_gne"]
    spec = tmp_path / "job.yaml"
    spec.write_text(yaml.safe_dump(document))
    before = set(real_cli.home.glob("jobs/*"))
    done = real_cli.run("run", str(spec), "--json")
    errors = {error["path"]: error["message"] for error in json.loads(done.stdout)["errors"]}
    assert done.returncode == 2
    assert "demo_arithmetic" in errors["evaluate.0.datasets.0"]
    assert "gsm8k_gen" in errors["evaluate.0.datasets.1"]
    assert set(real_cli.home.glob("jobs/*")) == before


@pytest.mark.parametrize("state", ["starting", "evaluating"])
def test_ctrl_c_ends_the_real_engine_and_the_real_evaluator(real_cli: Cli, tmp_path: Path, state: str) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "environments").symlink_to(real_cli.home / "environments")
    code, record = cli.interrupted(CONFIGS / "jobs" / "demo.yaml", state, signal.SIGINT)
    assert (code, record["state"]) == (130, "cancelled")
    assert record["teardown"]["clean"]
    assert not cli.left()


def test_a_demo_whose_runner_was_killed_at_half_is_resumed_and_asks_only_what_is_missing(
    demo: dict[str, Any], real_cli: Cli, tmp_path: Path
) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "environments").symlink_to(real_cli.home / "environments")
    process = cli.start("run", str(CONFIGS / "jobs" / "demo.yaml"))
    folder = cli.wait_for_state("evaluating")
    wait_for(lambda: json.loads((folder / "job.json").read_text())["progress"]["done"] >= 100, "half", timeout=120)
    process.kill()
    process.communicate()
    done_before = json.loads((folder / "job.json").read_text())["progress"]["done"]
    wait_for(lambda: not cli.left(), "end of every process", timeout=10)
    code, resumed = cli.job(CONFIGS / "jobs" / "demo.yaml", "--resume", folder.name, timeout=200)
    assert (code, resumed["state"]) == (0, "succeeded")
    assert resumed["gateway"]["replayed"] >= done_before
    assert resumed["gateway"]["asked"] == 200
    assert [_verdict(sample) for sample in samples_of(resumed)] == [_verdict(sample) for sample in samples_of(demo)]
    assert resumed["results"] == demo["results"]


def _verdict(sample: dict[str, Any]) -> tuple[str, bool]:
    return sample["output"], sample["correct"]


def _last_number(text: str) -> str | None:
    found = re.findall(r"-?\d+", text)
    return found[-1] if found else None
