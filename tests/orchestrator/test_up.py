"""`up`, `down`, `ps`, `logs`, `probe`, dry runs: a served model without an evaluation."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestrator.support import FAKE, Cli, wait_for

WriteJob = Callable[..., Path]
COMMAND = " ".join(FAKE)
SERVE = ("--engine", "custom", "--model", "fake", "--command", COMMAND)


def test_up_detach_serves_until_down(cli: Cli) -> None:
    ready = cli.run("up", *SERVE, "--name", "one", "--detach", "--json")
    deployment = json.loads(ready.stdout)
    assert (ready.returncode, deployment["state"]) == (0, "ready")
    probed = cli.here("probe", deployment["url"], "--json")
    assert (probed.returncode, json.loads(probed.stdout)["model"]) == (0, "fake")
    assert cli.here("probe", f"{deployment['gateway_url']}/v1").returncode == 0
    assert "FAKE engine: ready" in cli.here("logs", "one").stdout
    assert "ready" in cli.here("logs", "one", "--component", "owner").stdout
    listed = json.loads(cli.here("ps", "--json").stdout)
    assert [(item["name"], item["state"]) for item in listed] == [("one", "ready")]
    assert "would stop one" in cli.here("down", "one", "--dry-run").stdout
    down = json.loads(cli.here("down", "one", "--json").stdout)
    assert (down["state"], down["teardown"]["clean"], down["failure"]) == ("stopped", True, None)
    assert cli.here("probe", deployment["url"]).returncode == 1


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_up_in_the_foreground_ends_cleanly_on_a_signal(cli: Cli, number: signal.Signals, expected: int) -> None:
    process = cli.start("up", *SERVE, "--name", "front")
    wait_for(lambda: "ready" in cli.here("ps", "--json").stdout, "ready deployment")
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == expected
    assert "http://127.0.0.1:" in out


def test_an_explicit_port_is_the_engines_with_one_replica_and_the_gateways_with_two(cli: Cli) -> None:
    one = json.loads(cli.run("up", *SERVE, "--port", "18231", "--name", "p", "--detach", "--json").stdout)
    assert one["url"] == "http://127.0.0.1:18231"
    assert one["resources"]["replicas"][0]["port"] == 18231
    cli.here("down", "p")
    two = cli.run("up", *SERVE, "--port", "18231", "--replicas", "2", "--name", "p", "--detach", "--json")
    deployment = json.loads(two.stdout)
    assert deployment["url"] == deployment["gateway_url"] == "http://127.0.0.1:18231"
    assert len(deployment["resources"]["replicas"]) == 2
    assert cli.here("down", "p").returncode == 0


def test_a_start_that_fails_is_told_with_its_log(cli: Cli) -> None:
    failed = cli.run(
        "up", "--engine", "custom", "--model", "fake", "--command", f"{COMMAND} --exit-on-load 3", "--detach"
    )
    assert failed.returncode == 1
    assert "engine_exited" in failed.stderr
    assert "repeat it by hand" in failed.stderr
    assert "failed" in cli.here("ps").stdout


def test_a_name_that_runs_already_is_refused(cli: Cli) -> None:
    assert cli.run("up", *SERVE, "--name", "same", "--detach").returncode == 0
    again = cli.run("up", *SERVE, "--name", "same", "--detach")
    assert (again.returncode, "runs already" in again.stderr) == (1, True)
    assert cli.here("down", "same").returncode == 0
    assert cli.here("down", "other").returncode == 1


def test_kill_9_of_the_owner_leaves_no_process_and_ps_says_lost(cli: Cli) -> None:
    ready = json.loads(cli.run("up", *SERVE, "--name", "orphan", "--detach", "--json").stdout)

    os.kill(ready["pid"], signal.SIGKILL)
    wait_for(lambda: not cli.left(), "end of every process", timeout=10)
    listed = json.loads(cli.here("ps", "--json").stdout)
    assert (listed[0]["state"], listed[0]["failure"]["code"]) == ("failed", "lost")


def test_a_dry_run_shows_the_plan_and_starts_nothing(cli: Cli, write_job: WriteJob) -> None:
    plan = json.loads(cli.here("run", str(write_job()), "--dry-run", "--json").stdout)
    replica = plan["replicas"][0]
    assert str(replica["port"]) in replica["argv"]
    assert plan["evaluators"][0]["argv"]
    assert replica["env"]["CUDA_VISIBLE_DEVICES"] == ""
    assert not (cli.home / "jobs").exists()
    text = cli.here("up", *SERVE, "--dry-run").stdout
    assert "orchestrator.fake_engine" in text
    assert json.loads(cli.here("ps", "--json").stdout) == []


def test_every_field_of_serve_is_a_flag(cli: Cli) -> None:
    shown = cli.here("up", "--help").stdout
    for flag in ("--tensor-parallel", "--tp", "--nccl-port", "--max-total-tokens", "--extra-args", "--env"):
        assert flag in shown


def test_flags_that_make_no_sense_are_a_bad_spec(cli: Cli) -> None:
    bad = cli.here("up", "--engine", "transformers", "--model", "/no/model", "--tp", "2", "--json")
    paths = {error["path"] for error in json.loads(bad.stdout)["errors"]}
    assert (bad.returncode, paths) == (2, {"serve.model", "serve.tensor_parallel"})
    assert cli.here("up", "--engine", "custom", "--gpus", "a,b").returncode == 2
    assert cli.here("up").returncode == 2


def test_doctor_and_schema_speak_json(cli: Cli) -> None:
    found = json.loads(cli.here("doctor", "--json").stdout)
    states = {row["name"]: row["state"] for row in found["installed"]}
    assert states["custom"] == "built in"
    assert states["straight"] == "installed"
    assert states["transformers"] == "missing"
    schema = json.loads(cli.here("schema").stdout)
    assert "served_model_name" in schema["$defs"]["ServeSpec"]["properties"]
    assert schema["$defs"]["ServeSpec"]["properties"]["tensor_parallel"]["description"]
