"""Scores of texts on a real engine, by the real lm-eval, against those that the engine tells when asked directly."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients.fidelity.tokenizer import load_tokenizer
from orchestrator.settings import Settings
from tests.orchestrator.lm_eval.support import CONFIGS, MODEL
from tests.orchestrator.support import Cli

pytestmark = pytest.mark.heavy
QUESTIONS = 6


def log_likelihood(url: str, start: str, choice: str) -> float:
    """Of `choice` after `start`, from the engine's scores of the token ids."""
    tokenizer = load_tokenizer(MODEL, None)
    ids, context = (tokenizer.ids(text, special=False) for text in (start + choice, start))
    body = {"model": "demo-arithmetic", "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        scores: list[float] = json.load(answer)["choices"][0]["logprobs"]["token_logprobs"]
    return sum(scores[len(context) : len(ids)])


def test_choices_on_vllm_are_scored_as_vllm_scores_them_when_asked_directly(tmp_path: Path) -> None:
    (tmp_path / "environments").symlink_to(Settings.load().environments)
    cli = Cli(tmp_path)
    serving = ("--engine", "vllm", "--model", str(MODEL), "--max-model-len", "512", "--dtype", "float32")
    up = cli.run("up", *serving, "--name", "scoring", "--detach", "--json", timeout=600)
    assert up.returncode == 0, up.stderr
    url = json.loads(up.stdout)["url"]
    document: dict[str, Any] = {
        "serve": {"engine": "external", "url": url, "served_model_name": "demo-arithmetic", "model": str(MODEL)},
        "evaluate": [{"evaluator": "lm_eval", "datasets": ["demo_choices"], "limit": QUESTIONS}],
        "probe": {"fidelity": {"enabled": False}},
    }
    spec = tmp_path / "job.yaml"
    spec.write_text(yaml.safe_dump(document))
    rows = [json.loads(line) for line in (CONFIGS / "data/demo_choices/test.jsonl").read_text().splitlines()]
    try:
        code, record = cli.job(spec, timeout=300)
        direct = [
            [log_likelihood(url, f"Question: {row['question']}\nAnswer:", f" {choice}") for choice in row["choices"]]
            for row in rows[:QUESTIONS]
        ]
    finally:
        assert cli.run("down", "scoring").returncode == 0
    samples = [json.loads(line) for line in (Path(record["folder"]) / "samples.jsonl").read_text().splitlines()]
    theirs = [[float(line.split()[0]) for line in sample["output"].splitlines()] for sample in samples]
    assert code == 0
    assert theirs == [pytest.approx(own, abs=0.01) for own in direct]
    right = sum(own.index(max(own)) == row["right"] for own, row in zip(direct, rows, strict=False))
    assert record["results"][0]["score"] == pytest.approx(100 * right / QUESTIONS)
