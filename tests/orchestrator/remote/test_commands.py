"""The service from a terminal."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.service import ServiceClient
from orchestrator.cli.tokens import app as tokens
from tests.orchestrator.service.support import Running, spec
from tests.orchestrator.support import FAKE, Cli, wait_for

WriteJob = Callable[..., Path]
ENDLESS = ("--load-time", "3600")


def test_a_job_is_submitted_watched_and_found_again(remote: Cli, write_job: WriteJob) -> None:
    done = remote.run("submit", str(write_job(name="seen to its end")), "--watch")
    assert done.returncode == 0, done.stderr
    assert "100.00" in done.stdout
    for state in ("queued", "starting", "evaluating", "stopping", "succeeded"):
        assert f" {state}" in done.stderr
    listed = json.loads(remote.here("jobs", "--state", "succeeded", "--json").stdout)
    job = next(one["id"] for one in listed if one["name"] == "seen to its end")
    assert "FAKE engine: ready" in remote.here("logs", job, "--tail", "1").stdout
    watched = json.loads(remote.run("watch", job, "--json").stdout)
    assert (watched["state"], watched["results"][0]["answered"]) == ("succeeded", 20)


@pytest.mark.slow
def test_a_job_is_cancelled_and_the_exit_code_says_so(remote: Cli, write_job: WriteJob) -> None:
    job = remote.here("submit", str(write_job(*ENDLESS))).stdout.strip()
    shown = wait_for(lambda: _mentions("starting", remote.here("show", job).stdout), "start of the job")
    assert f"orchestrator logs {job} -f" in shown
    watching = remote.start("watch", job)
    assert "would be cancelled" in remote.here("cancel", job, "--dry-run").stdout
    assert remote.run("cancel", job).returncode == 0
    _, told = watching.communicate(timeout=60)
    assert (watching.returncode, "cancelled" in told) == (4, True)
    again = remote.here("cancel", job)
    assert (again.returncode, "conflict" in again.stderr) == (1, True)


@pytest.mark.slow
def test_ctrl_c_while_watching_leaves_the_job_running(remote: Cli, client: ServiceClient, write_job: WriteJob) -> None:
    job = client.submit(spec(*ENDLESS))
    watching = remote.start("watch", job.id)
    assert watching.stderr
    watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=20)
    assert (watching.returncode, "goes on" in told) == (130, True)
    assert not client.job(job.id).state.terminal
    client.cancel(job.id)
    client.wait(job.id, 60)


@pytest.mark.slow
def test_a_failed_job_says_why_and_a_retry_fails_again(remote: Cli, write_job: WriteJob) -> None:
    failed = remote.run("submit", str(write_job("--exit-on-load", "7")), "--watch", "--json")
    assert (failed.returncode, json.loads(failed.stdout)["failure"]["code"]) == (1, "engine_exited")
    job = json.loads(failed.stdout)["id"]
    again = remote.run("retry", job, "--watch")
    assert again.returncode == 1
    assert "repeat it by hand" in again.stderr
    assert json.loads(remote.here("show", job, "--json").stdout)["state"] == "failed"
    assert "engine_exited" in remote.here("show", job).stderr
    assert "failed (engine_exited)" in remote.here("jobs", "--engine", "custom").stdout


def test_a_bad_spec_is_refused_with_all_its_errors(remote: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("serve: {engine: custom, model: fake, tensor_parallel: 0}\nevaluate: []\nfoo: 1\n")
    done = remote.here("submit", str(bad), "--json")
    assert done.returncode == 2
    assert {"serve.tensor_parallel", "evaluate", "foo"} <= {one["path"] for one in json.loads(done.stdout)["errors"]}


def test_files_beside_the_spec_are_found_by_the_service(remote: Cli, write_job: WriteJob, tmp_path: Path) -> None:
    rows = [json.dumps({"question": "What is 1 + 1?", "answer": "#### 2"})]
    (tmp_path / "mine.jsonl").write_text("\n".join(rows))
    job = write_job(evaluate=[{"evaluator": "straight", "datasets": ["mine.jsonl"]}])
    plan = remote.here("submit", str(job), "--dry-run", "--json")
    assert plan.returncode == 0, plan.stdout
    assert json.loads(plan.stdout)["evaluators"][0]["evaluator"] == "straight"


@pytest.mark.slow
def test_the_same_key_makes_one_job(remote: Cli, write_job: WriteJob, client: ServiceClient) -> None:
    path = str(write_job(*ENDLESS))
    ids = {remote.here("submit", path, "--key", "of-the-terminal").stdout.strip() for _ in range(2)}
    assert len(ids) == 1
    client.cancel(ids.copy().pop())
    client.wait(ids.pop(), 60)


def test_without_a_service_the_next_step_is_said(cli: Cli, write_job: WriteJob) -> None:
    never = cli.here("submit", str(write_job()))
    assert (never.returncode, "orchestrator serve" in never.stderr) == (1, True)
    (cli.home / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": 1}))
    gone = cli.here("jobs", "--json")
    assert (gone.returncode, json.loads(gone.stdout)["code"]) == (1, "service_unreachable")
    assert "orchestrator serve" in json.loads(gone.stdout)["hint"]
    cli.env["ORCHESTRATOR_URL"] = "127.0.0.1:8420"
    assert "http://" in cli.here("jobs").stderr


@pytest.mark.slow
def test_deployments_of_a_service_that_is_named(served: Running) -> None:
    elsewhere = Cli(served.home.parent / "elsewhere")
    elsewhere.home.mkdir(exist_ok=True)
    elsewhere.env["ORCHESTRATOR_URL"] = served.url
    serve = ("--engine", "custom", "--model", "fake", "--command", " ".join(FAKE))
    assert "orchestrator.fake_engine" in elsewhere.here("up", *serve, "--detach", "--dry-run").stdout
    spec_file = elsewhere.home / "served.yaml"
    spec_file.write_text("serve: {engine: custom, model: fake}\n")
    flags = ("--spec", str(spec_file), *serve[4:])
    up = elsewhere.run("up", *flags, "--name", "far", "--detach", "--json")
    deployment = json.loads(up.stdout)
    assert (up.returncode, deployment["state"]) == (0, "ready")
    assert elsewhere.run("probe", deployment["url"]).returncode == 0
    assert ("far", "ready") in [
        (one["name"], one["state"]) for one in json.loads(elsewhere.here("ps", "--json").stdout)
    ]
    assert "would stop far" in elsewhere.here("down", "far", "--dry-run").stdout
    down = elsewhere.run("down", "far")
    assert "far is stopped" in down.stdout, down.stderr
    assert "nothing of it is left" in down.stdout
    assert not (elsewhere.home / "deployments").exists()
    failed = elsewhere.run("up", *serve[:-1], f"{serve[-1]} --exit-on-load 3", "--detach")
    assert (failed.returncode, "engine_exited" in failed.stderr) == (1, True)


@pytest.mark.slow
def test_serve_takes_its_flags_and_ends_on_a_signal(cli: Cli) -> None:
    dry = json.loads(cli.run("serve", "--port", "18996", "--dry-run", "--json").stdout)
    assert (dry["port"], dry["home"]) == (18996, str(cli.home))
    for number, expected in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        process = cli.start("serve", "--port", "0", "--json")
        url = json.loads(_first_line(process))["url"]
        with ServiceClient(url) as client:
            client.check_ready()
        second = cli.run("serve", "--port", "0")
        assert (second.returncode, "service_running" in second.stderr) == (1, True)
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == expected


@pytest.mark.slow
def test_tokens_open_a_service_that_others_can_reach(cli: Cli) -> None:
    refused = cli.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert (refused.returncode, "token add" in refused.stderr) == (1, True)
    here = CliRunner(env=cli.env)
    assert "would add" in here.invoke(tokens, ["add", "ci", "--role", "submit", "--dry-run"]).stdout
    secret = cli.run("token", "add", "ci", "--role", "submit").stdout.strip()
    assert here.invoke(tokens, ["add", "ci", "--role", "read"]).exit_code == 1
    process = cli.start("serve", "--host", "0.0.0.0", "--port", "0")
    url = _first_line(process).strip().replace("0.0.0.0", "127.0.0.1")
    unknown = cli.here("jobs", "--service", url)
    assert (unknown.returncode, "unauthorized" in unknown.stderr) == (1, True)
    cli.env["ORCHESTRATOR_TOKEN"] = secret
    assert json.loads(cli.here("jobs", "--service", url, "--json").stdout) == []
    assert cli.run("token", "revoke", "ci").returncode == 0
    assert cli.here("jobs", "--service", url).returncode == 1
    listed = json.loads(here.invoke(tokens, ["list", "--json"]).stdout)
    assert secret not in json.dumps(listed)
    assert listed[0]["revoked_at"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def _mentions(word: str, text: str) -> str | None:
    return text if word in text else None
