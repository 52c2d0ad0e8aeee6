"""Whole runs of configs: real OpenCompass, the fake engine in place of the named one."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.orchestrator.one_click.support import MODEL, Clicks, entry
from tests.orchestrator.support import FAKE

pytestmark = pytest.mark.real
FAILING = f"command={shlex.join(FAKE)} --model {{model}} --fail-prompts {{model}}"
"""The path of a model is the share of prompts that fail on it, the probe's among them."""


def test_models_run_in_turn_and_the_worst_of_them_gives_the_exit_code(clicks: Clicks) -> None:
    models = [entry(abbr="'good'", path="'0.0'"), entry(abbr="'bad'", path="'1.0'"), entry("OpenAISDK", abbr="'gpt'")]
    file = clicks.demo(*models, classes="HuggingFacewithChatTemplate, OpenAISDK")
    done = clicks.cli.run("run", str(file), "-a", "custom", "--limit", "3", "--serve", FAILING, "--json", timeout=240)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    good, bad = document["jobs"]
    assert (good["state"], bad["state"]) == ("succeeded", "failed")
    assert [(one["dataset"], one["answered"]) for one in good["results"]] == [("demo_arithmetic", 3)]
    assert [one["model"] for one in document["skipped"]] == ["gpt"]
    assert any("max_out_len=128 of demo_arithmetic wins" in note for note in good["notes"])
    assert good["finished_at"] <= bad["created_at"]
    report = Path(good["report"]).read_text()
    assert all(note in report for note in good["notes"])


def test_after_an_interruption_no_other_model_is_started(clicks: Clicks) -> None:
    file = clicks.demo(entry(abbr="'first'", path="'0.0'"), entry(abbr="'second'", path="'1.0'"))
    process = clicks.cli.start("run", str(file), "-a", "custom", "--serve", f"{FAILING} --load-time 60")
    clicks.cli.wait_for_state("starting")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.search(r"first +cancelled +- ", out)
    assert re.search(r"second +not run +- ", out)
    assert len(list(clicks.cli.home.glob("jobs/*"))) == 1


@pytest.mark.heavy
@pytest.mark.parametrize(
    "engine", [("vllm", "dtype=float32", "extra_args=--enforce-eager"), ("transformers", "env.OMP_NUM_THREADS=1")]
)
def test_a_config_runs_on_a_real_engine_as_it_is(clicks: Clicks, engine: tuple[str, ...]) -> None:
    name, *serve = engine
    file = clicks.demo(entry(path=repr(str(MODEL)), stop_words="['<|end_of_text|>', '<|eot_id|>']"))
    given = [word for field in serve for word in ("--serve", field)]
    code, record = clicks.cli.job(file, "-a", name, "--limit", "20", *given, timeout=800)
    assert (code, record["state"]) == (0, "succeeded"), record["failure"]
    (result,) = record["results"]
    assert (result["answered"], result["coverage"]) == (20, 1.0)
    assert result["score"] >= 50
