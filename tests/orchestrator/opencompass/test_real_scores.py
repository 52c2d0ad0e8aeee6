"""Perplexity through a real engine against the model itself, in its own framework."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.settings import Settings
from tests.orchestrator.opencompass.small_data import CAPITALS, LETTERS, options, question, write_cache
from tests.orchestrator.support import Cli

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1000)]

MODEL = Path(__file__).parents[3] / "eval_configs" / "models" / "demo-arithmetic"
TRUTH = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
for text in json.load(sys.stdin):
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        scores = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
    print(-scores.gather(1, ids[0, 1:, None]).sum().item() / ids.shape[1])
"""


def truth(texts: list[str]) -> list[float]:
    """Mean negative log-likelihood of each text, by OpenCompass's definition, from the model in `transformers`."""
    recipe = get_engine("transformers").recipe
    assert recipe is not None
    environment = Environments(Settings.load().environments).find(recipe)
    if environment is None:
        pytest.skip("transformers is not installed: `orchestrator install transformers`")
    argv = [str(environment.python), "-c", TRUTH, str(MODEL)]
    done = subprocess.run(argv, input=json.dumps(texts), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.splitlines()]


def test_vllm_scores_texts_as_the_model_itself_does(tmp_path: Path) -> None:
    countries = list(CAPITALS)[:4]
    prefixes = {
        country: f"Question: {question(country)}"
        + "".join(f"\n{key}. {name}" for key, name in options(country).items())
        + "\nAnswer: "
        for country in countries
    }
    wanted = truth([prefix + key for prefix in prefixes.values() for key in LETTERS])
    write_cache(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / "environments").symlink_to(Settings.load().environments)
    job = tmp_path / "job.yaml"
    serve = {"engine": "vllm", "model": str(MODEL), "max_model_len": 512, "dtype": "float32"}
    evaluate = {"evaluator": "opencompass", "datasets": ["likely.csv"], "limit": len(countries)}
    job.write_text(yaml.safe_dump({"serve": serve, "evaluate": [evaluate]}))
    code, record = Cli(home).job(job, timeout=900)
    assert (code, record["state"]) == (0, "succeeded"), record["failure"]
    samples = [json.loads(line) for line in (Path(record["folder"]) / "samples.jsonl").read_text().splitlines()]
    told = [float(line.split(": ")[1]) for sample in samples for line in sample["output"].splitlines()]
    assert told == pytest.approx(wanted, rel=1e-3)
    best = [min(range(4), key=lambda at: wanted[4 * row + at]) for row in range(len(countries))]
    assert [sample["prediction"] for sample in samples] == [LETTERS[at] for at in best]
