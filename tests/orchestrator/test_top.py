"""`orchestrator top`: the replicas of what runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.orchestrator.support import FAKE, Cli, wait_for

WriteJob = Callable[..., Path]
SERVE = ("--engine", "custom", "--model", "fake", "--command", " ".join(FAKE))


def looked(cli: Cli, *target: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cli.here("top", *target, "--json").stdout)
    return told


def test_a_replica_that_was_killed_is_seen_back(cli: Cli) -> None:
    up = json.loads(cli.run("up", *SERVE, "--replicas", "2", "--name", "two", "--detach", "--json").stdout)
    seen = looked(cli)
    assert (seen["url"], seen["limit"], seen["requests_held"]) == (up["gateway_url"], None, 0)
    assert [(one["name"], one["state"], one["breaker"], one["restarts"]) for one in seen["replicas"]] == [
        ("engine-0", "ready", "closed", 0),
        ("engine-1", "ready", "closed", 0),
    ]
    table = cli.here("top", up["gateway_url"], "--once").stdout
    assert all(word in table for word in ("engine-1", "ready", "closed", "no limit"))
    log = Path(up["logs"]["engine-0"]).read_text()
    os.kill(int(log.rpartition("pid ")[2].split(")")[0]), signal.SIGKILL)
    wait_for(lambda: looked(cli, "two")["replicas"][0]["restarts"] == 1, "restart")
    wait_for(lambda: looked(cli, "two")["replicas"][0]["state"] == "ready", "return")
    assert cli.run("down", "two").returncode == 0


def test_a_job_can_be_watched_by_its_id(cli: Cli, write_job: WriteJob) -> None:
    process = cli.start("run", str(write_job("--latency", "1")), "--json")
    folder = cli.wait_for_state("evaluating")
    assert [one["name"] for one in looked(cli, folder.name)["replicas"]] == ["engine-0"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_what_does_not_run_is_named_with_what_does(cli: Cli) -> None:
    failed = cli.here("top", "nothing")
    assert failed.returncode == 1
    assert "`nothing`" in failed.stderr
    assert "these run: none" in failed.stderr
    assert "no gateway answers" in cli.here("top", "http://127.0.0.1:1").stderr
