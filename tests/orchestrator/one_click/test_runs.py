"""Whole runs of configs: real OpenCompass, the fake engine in place of the named one."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.orchestrator.one_click.support import FAILING, MODEL, Clicks, entry

pytestmark = pytest.mark.real


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
def test_a_config_as_it_is_gets_the_same_answers_on_two_real_engines(clicks: Clicks) -> None:
    file = clicks.demo(entry(path=repr(str(MODEL)), stop_words="['<|end_of_text|>', '<|eot_id|>']"))
    serve = ("--serve", "dtype=float32", "--serve", "vllm.extra_args=--enforce-eager")
    given = ("-a", "transformers,vllm", "--limit", "20", *serve, "--gate", "max_drop=2", "--json")
    done = clicks.cli.run("compare", str(file), *given, timeout=1200)
    found = json.loads(done.stdout)
    assert found["state"] == "succeeded", done.stderr
    baseline, vllm = found["variants"]
    assert [(one["results"][0]["answered"], one["results"][0]["coverage"]) for one in (baseline, vllm)] == [
        (20, 1.0)
    ] * 2
    (row,) = vllm["differences"]
    assert (row["pairs"], row["won"], row["lost"]) == (20, 0, 0)


@pytest.mark.heavy
def test_a_base_model_is_asked_for_completions_on_a_real_engine(clicks: Clicks) -> None:
    """OpenCompass's own `HuggingFaceBaseModel` gives these answers, letter by letter."""
    file = clicks.demo(entry("HuggingFaceBaseModel", path=repr(str(MODEL))), classes="HuggingFaceBaseModel")
    code, record = clicks.cli.job(file, "-a", "transformers", "--limit", "2", timeout=400)
    assert (code, record["state"]) == (0, "succeeded"), record["failure"]
    rows = [json.loads(line) for line in (Path(record["folder"]) / "samples.jsonl").read_text().splitlines()]
    assert [row["output"] for row in rows] == [
        "\nThat is 64 + 41 = 100 + 5 = 105 rings. The answer is \\boxed{105}.",
        "\nThat is 7 * 5 = 35 bolts. The answer is \\boxed{35}.",
    ]
