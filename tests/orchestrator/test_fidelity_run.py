"""The fidelity probe within a job: before a single sample is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.support import Cli

pytestmark = pytest.mark.slow

WriteJob = Callable[..., Path]


def findings(job: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in job["fidelity"]["findings"]}


def test_a_faithful_engine_is_probed_and_evaluated(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job(probe={"fidelity": {}}))
    assert (code, job["state"], job["results"][0]["score"]) == (0, "succeeded", 100.0)
    assert (findings(job)["greedy_alone"], findings(job)["prompt_tokens"]) == ("ok", "unknown")
    assert job["gateway"]["asked"] == 20, "its requests are none of the evaluator's"
    assert "## Fidelity" in Path(job["report"]).read_text()
    events = [json.loads(line) for line in (Path(job["folder"]) / "events.jsonl").read_text().splitlines()]
    noted = [event for event in events if event["phase"] == "probing/fidelity"]
    assert {event["data"]["name"] for event in noted} == {n for n, verdict in findings(job).items() if verdict != "ok"}
    assert {event["state"] for event in noted} == {"probing"}


@pytest.mark.parametrize(
    ("flag", "name"),
    [("--nondeterministic", "greedy_alone"), ("--ignore-max-tokens", "max_tokens")],
)
def test_what_falsifies_stops_the_job_before_the_first_sample(
    cli: Cli, write_job: WriteJob, flag: str, name: str
) -> None:
    code, job = cli.job(write_job(flag, probe={"fidelity": {}}))
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", "probe_failed")
    assert name in job["failure"]["message"]
    assert f"probe.fidelity.tolerate: [{name}]" in job["failure"]["hint"]
    assert findings(job)[name] == "falsifies"
    assert (job["gateway"]["answered"], job["results"]) == (0, [])
    assert "evaluating" not in job["times"]
    assert job["teardown"]["clean"]


def test_what_is_tolerated_is_noted_and_evaluated(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--nondeterministic", probe={"fidelity": {"tolerate": ["greedy_alone"]}}))
    assert (code, job["results"][0]["coverage"]) == (0, 1.0)
    assert findings(job)["greedy_alone"] == "falsifies"


def test_a_probe_that_is_off_finds_nothing(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--nondeterministic"))
    assert (code, job["fidelity"]) == (0, None)
    assert "## Fidelity" not in Path(job["report"]).read_text()


def test_a_name_that_no_finding_has_is_refused(cli: Cli, write_job: WriteJob) -> None:
    refused = cli.here("run", str(write_job(probe={"fidelity": {"tolerate": ["greedy"]}})))
    assert (refused.returncode, "probe.fidelity.tolerate" in refused.stderr) == (2, True)


def test_an_engine_that_dies_while_it_is_probed_is_an_engine_that_died(cli: Cli, write_job: WriteJob) -> None:
    spec = write_job("--crash-after", "5", probe={"fidelity": {}}, serve={"max_restarts": 0})
    code, job = cli.job(spec)
    assert (code, job["failure"]["code"]) == (1, "engine_exited")


def test_probe_says_by_its_exit_code_whether_an_engine_is_fit(cli: Cli, write_job: WriteJob) -> None:
    for flag, expected in (("--ignore-stop", 0), ("--nondeterministic", 1)):
        up = cli.run("up", "--spec", str(write_job(flag)), "--name", "probed", "--detach", "--json")
        url = json.loads(up.stdout)["url"]
        done = cli.here("probe", url, "--fidelity", "--json")
        shown = cli.here("probe", url, "--fidelity")
        assert cli.here("down", "probed").returncode == 0
        assert (done.returncode, shown.returncode) == (expected, expected)
        assert "stop_strings" in shown.stdout
        assert json.loads(done.stdout)["fidelity"]["seconds"] < 30
