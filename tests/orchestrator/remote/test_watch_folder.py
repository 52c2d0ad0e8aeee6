"""Checkpoints of a training run that become jobs, once each."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import yaml

from clients.service import ServiceClient
from tests.orchestrator.service.support import spec
from tests.orchestrator.support import Cli, wait_for
from tests.orchestrator.test_checkpoints import write_checkpoint

pytestmark = pytest.mark.slow


def write_spec(path: Path, name: str) -> Path:
    """Its engine has one name for whatever it serves."""
    document = spec(name=name, limit=3)
    document["serve"]["served_model_name"] = "fake"
    path.write_text(yaml.safe_dump(document))
    return path


def test_each_checkpoint_becomes_a_job_once(remote: Cli, client: ServiceClient, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    write_checkpoint(runs / "step-1", fill=1)
    (runs / "step-2").mkdir()
    job = write_spec(tmp_path / "job.yaml", "tuned")
    command = ("watch-folder", str(runs), "--spec", str(job), "--settle", "0", "--every", "0.2", "--once")
    assert "step-1" in remote.run(*command, "--dry-run").stdout
    first = remote.run(*command, "--json")
    assert first.returncode == 0, first.stderr
    (only,) = json.loads(first.stdout)
    assert (only["name"], only["model"], only["state"]) == ("tuned: step-1", str(runs / "step-1"), "succeeded")
    (runs / "step-2").rmdir()
    write_checkpoint(runs / "step-2", fill=2)
    second = remote.run(*command)
    assert second.stdout.index("step-1") < second.stdout.index("step-2")
    assert second.stdout.count("100.00") == 2
    jobs = list(client.jobs(labels={"watch_folder": only["labels"]["watch_folder"]}))
    assert len(jobs) == 2
    assert "no new checkpoint" in remote.run(*command, "--dry-run").stdout


def test_a_folder_is_watched_until_ctrl_c(remote: Cli, client: ServiceClient, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    job = write_spec(tmp_path / "job.yaml", "watched")
    watching = remote.start("watch-folder", str(runs), "--spec", str(job), "--settle", "0", "--every", "0.1")
    write_checkpoint(runs / "step-9", fill=9)
    found = wait_for(lambda: [one for one in client.jobs() if one.name == "watched: step-9"], "job of the checkpoint")
    client.wait(found[0].id, 60)
    watching.send_signal(signal.SIGINT)
    out, _ = watching.communicate(timeout=30)
    assert (watching.returncode, "succeeded" in out) == (130, True)
