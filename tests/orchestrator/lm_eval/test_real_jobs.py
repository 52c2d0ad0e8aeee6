"""The real lm-eval in whole jobs: on the fake engine, whose truth is known, and on a real one, asked directly too."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients.fidelity.tokenizer import load_tokenizer
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.evaluators.registry import get_evaluator
from orchestrator.fake_engine.logprobs import scored
from orchestrator.settings import Settings
from tests.orchestrator.lm_eval.support import CONFIGS, MODEL
from tests.orchestrator.support import ROWS, Cli

pytestmark = pytest.mark.real
CHOICES = [json.loads(line) for line in (CONFIGS / "data/demo_choices/test.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def real_cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The command line with the machine's installed environments and a home of its own."""
    root = Settings.load().environments
    for recipe in (get_engine("transformers").recipe, get_evaluator("lm_eval").recipe):
        assert recipe
        assert Environments(root).find(recipe), f"first: orchestrator install {recipe.name}"
    home = tmp_path_factory.mktemp("home")
    (home / "environments").symlink_to(root)
    return Cli(home)


@dataclass(frozen=True)
class Failing:
    """A job on an engine that failed on some prompts, and the same job once more on one that no longer does."""

    first: tuple[int, dict[str, Any]]
    second: tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def failing(real_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Failing:
    """Questions to answer and choices to score; a twentieth of the prompts fail every time."""
    place = tmp_path_factory.mktemp("failing")
    engine, spec = place / "engine.sh", place / "job.yaml"
    command = f"exec {sys.executable} -m orchestrator.fake_engine --port $1 --logprobs --answers {ROWS}"
    spec.write_text(
        yaml.safe_dump(
            {
                "serve": {
                    "engine": "custom",
                    "model": str(MODEL),
                    "served_model_name": "fake",
                    "command": ["sh", str(engine), "{port}"],
                },
                "evaluate": [{"evaluator": "lm_eval", "datasets": ["demo_arithmetic", "demo_choices"], "limit": 100}],
                "probe": {"fidelity": {"enabled": False}},
            }
        )
    )
    engine.write_text(f"{command} --fail-prompts 0.05")
    first = real_cli.job(spec, timeout=240)
    engine.write_text(command)
    return Failing(first, real_cli.job(spec, "--resume", Path(first[1]["folder"]).name, timeout=240))


def results_of(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["dataset"]: result for result in record["results"]}


def samples_of(record: dict[str, Any], dataset: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (Path(record["folder"]) / "samples.jsonl").read_text().splitlines()]
    return [row for row in rows if row["dataset"] == dataset]


def last_number(text: str) -> str:
    return re.findall(r"-?\d+", text)[-1]


def likeliest(row: dict[str, Any]) -> int:
    """Which choice the fake engine finds likeliest: its log-probabilities are those of its tokens, here ids."""
    tokenizer = load_tokenizer(MODEL, None)
    start = f"Question: {row['question']}\nAnswer:"
    context = len(tokenizer.ids(start, special=False))
    sums = [
        sum(scored(f" {token}")[1] for token in tokenizer.ids(f"{start} {choice}", special=False)[context:])
        for choice in row["choices"]
    ]
    return sums.index(max(sums))


def test_failed_requests_end_neither_the_run_nor_in_the_score(failing: Failing) -> None:
    code, record = failing.first
    assert (code, record["state"], record["failure"]["code"]) == (3, "incomplete", "coverage_too_low")
    answers, choices = (results_of(record)[name] for name in ("demo_arithmetic", "demo_choices"))
    assert answers["failed"] > 0
    assert choices["failed"] > 0
    assert answers["coverage"] == pytest.approx(0.95, abs=0.04)
    for result in (answers, choices):
        assert result["coverage"] == result["answered"] / result["asked"]
    # The engine knows every answer, so whatever it answered is right.
    assert (answers["metric"], answers["score"], answers["asked"]) == ("exact_match,last-number", 100.0, 100)
    assert any("failed sample" in note for note in answers["notes"])


def test_a_failed_answer_and_a_failed_score_are_known_by_their_cause(failing: Failing) -> None:
    _, record = failing.first
    for name, result in results_of(record).items():
        failed = [row for row in samples_of(record, name) if row["failed"]]
        assert all((row["output"], row["correct"], row["failed"]) == (None, None, "http_500") for row in failed)
        assert result["failed_by_cause"] == {"http_500": result["failed"]}
        note = f"not answered: http_500 {result['failed']}"
        assert f"- {name}: {note}" in Path(record["report"]).read_text()


def test_choices_are_scored_as_the_engine_scores_their_tokens(failing: Failing) -> None:
    _, record = failing.first
    answered = [row for row in samples_of(record, "demo_choices") if not row["failed"]]
    for row in answered:
        known = CHOICES[row["index"]]
        assert row["prediction"] == f" {known['choices'][likeliest(known)]}"
        assert row["gold"] == f" {known['choices'][known['right']]}"
    right = sum(likeliest(CHOICES[row["index"]]) == CHOICES[row["index"]]["right"] for row in answered)
    assert results_of(record)["demo_choices"]["score"] == pytest.approx(100 * right / len(answered))


def test_the_resumed_job_asks_only_what_is_missing(failing: Failing) -> None:
    (_, first), (code, second) = failing.first, failing.second
    assert (code, second["state"]) == (0, "succeeded")
    assert {result["coverage"] for result in second["results"]} == {1.0}
    before, after = first["gateway"], second["gateway"]
    assert (after["asked"], after["failed"]) == (before["asked"], 0)
    assert after["asked"] - after["replayed"] == before["failed"] > 0


def test_scores_on_a_real_engine_are_those_of_the_same_questions_asked_directly(real_cli: Cli, tmp_path: Path) -> None:
    environment = ("--env", "OMP_NUM_THREADS=1")
    up = real_cli.run(
        *("up", "--engine", "transformers", "--model", str(MODEL), *environment, "--name", "direct", "--detach"),
        "--json",
        timeout=120,
    )
    url = json.loads(up.stdout)["url"]
    spec = tmp_path / "job.yaml"
    document = {
        "serve": {"engine": "external", "url": url, "served_model_name": "demo-arithmetic"},
        "evaluate": [{"evaluator": "lm_eval", "datasets": ["demo_arithmetic"], "limit": 12, "concurrency": 2}],
        "probe": {"fidelity": {"enabled": False}},
    }
    spec.write_text(yaml.safe_dump(document))
    try:
        code, record = real_cli.job(spec, timeout=120)
        samples = samples_of(record, "demo_arithmetic")
        direct = [ask(url, sample["prompt"].removeprefix("user: ")) for sample in samples]
    finally:
        assert real_cli.run("down", "direct").returncode == 0
    assert (code, [sample["output"] for sample in samples]) == (0, direct)
    right = sum(last_number(text) == last_number(one["gold"]) for text, one in zip(direct, samples, strict=True))
    result = results_of(record)["demo_arithmetic"]
    assert (result["asked"], result["score"]) == (12, pytest.approx(100 * right / 12))
    assert right > 0
    assert not real_cli.left()


def ask(url: str, question: str) -> str:
    body = {
        "model": "demo-arithmetic",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": 128,
        "stop": ["Question:"],
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])
