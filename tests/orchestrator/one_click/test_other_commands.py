"""`submit` and `compare` of a config: real OpenCompass, a real service, the fake engine in place of the named one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.one_click.support import FAILING, MODEL, Clicks, entry
from tests.orchestrator.service.support import Running

pytestmark = pytest.mark.real


@pytest.fixture
def service(clicks: Clicks) -> Iterator[Running]:
    """A service in the home of the command line."""
    running = Running(clicks.cli.home, HOME=clicks.cli.env["HOME"])
    running.start()
    yield running
    running.stop()
    running.client.close()


def asked_at(folder: Path) -> set[str]:
    """Paths of the evaluator's requests."""
    lines = (folder / "requests.jsonl").read_text().splitlines()
    return {str(json.loads(line)["path"]) for line in lines}


def test_a_submitted_config_becomes_a_job_of_the_service_per_model(clicks: Clicks, service: Running) -> None:
    good = entry("HuggingFaceBaseModel", abbr="'good'", path="'0.0'")
    models = [good, entry(abbr="'bad'", path="'1.0'"), entry("OpenAISDK", abbr="'gpt'")]
    file = clicks.demo(*models, classes="HuggingFaceBaseModel, HuggingFacewithChatTemplate, OpenAISDK")
    submit = ("submit", str(file), "-a", "custom", "--limit", "3", "--serve", FAILING)
    planned = json.loads(clicks.cli.run(*submit, "--dry-run", "--json").stdout)
    assert [(one["model"], one["lacking"]) for one in planned["jobs"]] == [("good", []), ("bad", [])]
    assert all(one["evaluators"][0]["evaluator"] == "opencompass" for one in planned["jobs"])
    queued = clicks.cli.run(*submit, "--key", "mine")
    ids = queued.stdout.split()
    assert len(set(ids)) == 2, queued.stderr
    assert "note: model gpt is left out" in queued.stderr
    seen = clicks.cli.run(*submit, "--key", "mine", "--watch", "--json", timeout=240)
    document = json.loads(seen.stdout)
    assert [one["id"] for one in document["jobs"]] == ids
    assert [one["state"] for one in document["jobs"]] == ["succeeded", "failed"]
    assert (seen.returncode, [one["model"] for one in document["skipped"]]) == (1, ["gpt"])
    good_one = document["jobs"][0]
    assert any("max_out_len=128 of demo_arithmetic wins" in note for note in good_one["notes"])
    assert asked_at(Path(good_one["folder"])) == {"/v1/completions"}  # a base model: no chat template


def test_engines_are_compared_on_a_config_in_one_command(clicks: Clicks) -> None:
    file = str(clicks.demo(entry(abbr="'mine'"), entry(abbr="'other'")))
    serve = [f"custom.{FAILING}", "custom.model=0.0", "transformers.dtype=float32", "startup_timeout=99"]
    asked = ("-a", "transformers,custom", "--only", "mine", "--limit", "3", "--gate", "max_drop=2")
    given = [word for field in serve for word in ("--serve", field)]
    done = clicks.cli.run("compare", file, *asked, *given, "--dry-run", "--json")
    plan = json.loads(done.stdout)["plan"]
    assert (plan["baseline"], plan["order"], plan["gate"]["max_drop"]) == (
        "transformers",
        ["transformers", "custom"],
        2,
    )
    first, second = plan["jobs"]["transformers"]["spec"], plan["jobs"]["custom"]["spec"]
    assert first["evaluate"] == second["evaluate"]
    assert (first["serve"]["dtype"], first["serve"]["command"]) == ("float32", None)
    assert (second["serve"]["model"], first["serve"]["model"]) == ("0.0", str(MODEL))
    assert first["serve"]["startup_timeout"] == second["serve"]["startup_timeout"] == 99
    assert done.stderr.count("max_out_len=128 of demo_arithmetic wins") == 1


def test_what_cannot_be_submitted_or_compared_says_what_to_do(clicks: Clicks) -> None:
    file = str(clicks.demo(entry(abbr="'one'"), entry(abbr="'two'")))
    elsewhere = clicks.cli.run("submit", file, "-a", "vllm", "--service", "http://192.0.2.1:8420")
    assert (elsewhere.returncode, "--dry-run` prints the job specs" in elsewhere.stderr) == (2, True)
    for args, told in (
        (("-a", "vllm"), "at least two engines"),
        (("-a", "vllm", "-a", "vllm"), "named twice"),
        (("-a", "vllm,custom", "job.yaml"), "compared alone"),
        (("-a", "vllm,transformers"), "--only: is needed: one model"),
        (("-a", "vllm,transformers", "--only", "tow"), "unknown model"),
    ):
        refused = clicks.cli.run("compare", file, *args)
        assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
