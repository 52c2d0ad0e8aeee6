"""Exports to experiment trackers: a real MLflow server on loopback, Weights & Biases offline.

Their clients live in an environment of its own, installed as a user would; `TRACKERS` names one that is there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.support import wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1200)]
PROJECT = Path(__file__).parents[3]
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}


@pytest.fixture(scope="session")
def trackers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment with this package, both clients and the server of MLflow."""
    if given := os.environ.get("TRACKERS"):
        return Path(given) / "bin"
    folder = tmp_path_factory.mktemp("trackers")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [f"{PROJECT}[mlflow,wandb,parquet]", "mlflow"]
    subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *wanted], check=True)
    return folder / "bin"


@pytest.fixture
def server(trackers: Path, tmp_path: Path) -> Iterator[str]:
    """URL of a tracking server that keeps everything in a folder."""
    with socket.socket() as picked:
        picked.bind(("127.0.0.1", 0))
        port = picked.getsockname()[1]
    argv = [str(trackers / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    argv += ["--backend-store-uri", f"sqlite:///{tmp_path}/db.sqlite", "--artifacts-destination", f"{tmp_path}/kept"]
    env = {**os.environ, **QUIET}
    with (tmp_path / "server.log").open("w") as log:
        # In a group of its own, since it starts workers.
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=env, cwd=tmp_path, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _listens(port), "tracking server", timeout=180)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def test_a_job_is_a_run_of_mlflow_with_parameters_metrics_and_files(
    trackers: Path, server: str, folder: Path, tmp_path: Path
) -> None:
    made = _report(trackers, folder, "--format", "mlflow", "--to", server, "--experiment", "of the test")
    run = _get(server, f"runs/get?run_id={made}")["run"]
    metrics = {one["key"]: one["value"] for one in run["data"]["metrics"]}
    result = json.loads((folder / "job.json").read_text())["results"][0]
    assert metrics["rows/accuracy"] == pytest.approx(result["score"])
    low, high = result["interval"]
    assert (metrics["rows/accuracy/low"], metrics["rows/accuracy/high"]) == pytest.approx((low, high))
    counts = [metrics[f"rows/accuracy/{name}"] for name in ("asked", "answered", "failed", "coverage")]
    assert counts == [6, 6, 0, 1]
    parameters = {one["key"]: one["value"] for one in run["data"]["params"]}
    assert parameters["digest"] == json.loads((folder / "job.json").read_text())["fingerprint"]["digest"]
    assert run["info"]["status"] == "FINISHED"
    names = {one["path"] for one in _get(server, f"artifacts/list?run_id={made}")["files"]}
    assert {"report.html", "report.md", "results.json", "samples.jsonl", "job.json"} <= names


def test_a_job_is_an_offline_run_of_wandb(trackers: Path, folder: Path, tmp_path: Path) -> None:
    made = Path(_report(trackers, folder, "--format", "wandb", "--out", str(tmp_path)))
    assert made.parent == tmp_path / "wandb"
    kept = next(made.glob("run-*.wandb")).read_bytes()
    digest = json.loads((folder / "job.json").read_text())["fingerprint"]["digest"]
    for part in (digest, "rows/accuracy/coverage", "rows/accuracy/low"):
        assert part.encode() in kept


def test_samples_are_written_as_parquet(trackers: Path, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    assert _report(trackers, folder, "--format", "parquet", "--out", str(path)) == str(path)
    read = (
        "import json, sys, pyarrow.parquet as p; t = p.read_table(sys.argv[1]);"
        "print(json.dumps([t.to_pylist(), json.loads(t.schema.metadata[b'orchestrator'])]))"
    )
    done = subprocess.run([str(trackers / "python"), "-c", read, str(path)], check=True, capture_output=True, text=True)
    rows, about = json.loads(done.stdout)
    assert rows == [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert about["fingerprint"]["engine"] == "custom"


def _report(trackers: Path, folder: Path, *args: str) -> str:
    argv = [str(trackers / "python"), "-m", "orchestrator", "report", str(folder), *args]
    env = {**os.environ, **QUIET}
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _get(server: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/{path}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
