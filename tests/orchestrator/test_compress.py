"""Compression before serving: what is served, what the record says, and what is never served."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.support import Cli, wait_for

pytestmark = pytest.mark.slow

WriteJob = Callable[..., Path]

COPY = """
import json, pathlib, sys, time

model, output, counter, seconds = sys.argv[1:]
with open(counter, "a") as file:
    file.write("made\\n")
(pathlib.Path(output) / "config.json").write_text(json.dumps(dict()))
print("half of it is written", flush=True)
time.sleep(float(seconds))
(pathlib.Path(output) / "model.safetensors").write_bytes(b"small")
"""
FAIL = "import sys; print('the tool says why', flush=True); sys.exit(3)"
NOTHING = "print('nothing to do')"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "big-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    return folder


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """Gets a line each time that the tool runs."""
    return tmp_path / "runs"


def runs(counter: Path) -> int:
    return len(counter.read_text().splitlines()) if counter.exists() else 0


def compressed(source: Path, counter: Path, *, seconds: float = 0, **changes: Any) -> dict[str, Any]:
    """The parts of a job that make a copy and serve it: `write_job(**compressed(...))`."""
    command = ["{python}", "-c", COPY, "{model}", "{output}", str(counter), str(seconds)]
    return {
        "serve": {"model": str(source), "served_model_name": "fake"},
        "compress": {"tool": "command", "command": command, **changes},
    }


def test_the_produced_model_is_served_and_linked_to_its_source(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    code, job = cli.job(write_job(**compressed(source, counter)))
    assert (code, job["state"]) == (0, "succeeded")
    made = job["resources"]["compress"]
    produced = Path(made["produced"])
    assert produced.parent.parent == cli.home / "models"
    assert (produced / "model.safetensors").read_bytes() == b"small"
    assert (made["source"], made["tool"], made["cached"]) == (str(source), "command", False)
    assert made["source_fingerprint"] != made["produced_fingerprint"]
    assert (made["bytes_before"], made["bytes_after"]) == (723, 7)
    assert made["argv"][0][3] == str(source)
    assert list(job["times"]) == ["allocating", "compressing", "starting", "probing", "evaluating", "stopping"]
    assert job["teardown"]["clean"]
    assert "half of it is written" in Path(job["logs"]["compress"]).read_text()
    assert f"compressed: `{source}` by command" in Path(job["report"]).read_text()


def test_compressing_is_a_phase_of_allocating_before_starting(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    _, job = cli.job(write_job(**compressed(source, counter)))
    events = [json.loads(line) for line in (Path(job["folder"]) / "events.jsonl").read_text().splitlines()]
    phases = [event["phase"] for event in events]
    compressing = [event for event in events if event["phase"].startswith("compressing")]
    assert {event["state"] for event in compressing} == {"allocating"}
    assert phases.index("compressing") < phases.index("starting")
    assert [event["state"] for event in events if event["type"] == "state"][:3] == ["allocating", "starting", "probing"]


def test_the_engine_gets_the_produced_model_under_the_name_of_the_source(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    parts = compressed(source, counter)
    del parts["serve"]["served_model_name"]
    spec = write_job(**parts)
    spec.write_text(spec.read_text().replace("- --answers", "- --model\n  - '{served_model_name}'\n  - --answers"))
    plan = json.loads(cli.here("run", str(spec), "--json", "--dry-run").stdout)
    assert "big-model" in plan["replicas"][0]["argv"]
    code, job = cli.job(spec)
    assert (code, job["results"][0]["answered"]) == (0, 20)


def test_the_same_model_is_made_once_and_a_changed_one_again(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    first = cli.job(write_job(**compressed(source, counter)))[1]["resources"]["compress"]
    second = cli.job(write_job(**compressed(source, counter)))[1]["resources"]["compress"]
    assert (first["cached"], second["cached"], runs(counter)) == (False, True, 1)
    assert second["produced"] == first["produced"]
    (source / "model.safetensors").write_bytes(b"other weights")
    third = cli.job(write_job(**compressed(source, counter)))[1]["resources"]["compress"]
    assert (third["cached"], runs(counter)) == (False, 2)
    assert third["produced"] != first["produced"]


def test_a_produced_model_that_was_damaged_is_made_again(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    made = cli.job(write_job(**compressed(source, counter)))[1]["resources"]["compress"]
    weights = Path(made["produced"]) / "model.safetensors"
    weights.write_bytes(b"sm")
    again = cli.job(write_job(**compressed(source, counter)))[1]["resources"]["compress"]
    assert (again["cached"], runs(counter), weights.read_bytes()) == (False, 2, b"small")


def test_two_jobs_at_once_make_it_once(cli: Cli, write_job: WriteJob, source: Path, counter: Path) -> None:
    spec = write_job(**compressed(source, counter, seconds=1.5))
    both = [cli.start("run", str(spec), "--json") for _ in range(2)]
    jobs = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [job["state"] for job in jobs] == ["succeeded", "succeeded"]
    assert runs(counter) == 1
    assert sorted(job["resources"]["compress"]["cached"] for job in jobs) == [False, True]


@pytest.mark.parametrize(("program", "said"), [(FAIL, "exited with code 3"), (NOTHING, "left no model behind")])
def test_a_tool_that_fails_ends_the_job_with_its_log_and_command(
    cli: Cli, write_job: WriteJob, source: Path, program: str, said: str
) -> None:
    command = ["{python}", "-c", program, "{model}", "{output}"]
    spec = write_job(serve={"model": str(source)}, compress={"tool": "command", "command": command})
    code, job = cli.job(spec)
    failure = job["failure"]
    assert (code, job["state"], failure["code"]) == (1, "failed", "compress_failed")
    assert said in failure["message"]
    assert ("the tool says why" in failure["log_tail"]) == (program == FAIL)
    assert str(source) in failure["command"]
    assert failure["log"].endswith("compress.log")
    assert job["teardown"]["clean"]
    assert not [path for path in (cli.home / "models").iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("limit", ["timeout", "compress.timeout"])
def test_a_time_limit_ends_the_compression(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path, limit: str
) -> None:
    parts = compressed(source, counter, seconds=60)
    (parts if limit == "timeout" else parts["compress"])["timeout"] = 2.0
    code, job = cli.job(write_job(**parts))
    assert (code, job["failure"]["code"]) == (1, "timeout")
    assert job["teardown"]["clean"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_an_interrupted_job_leaves_half_made_is_never_served(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path, number: signal.Signals
) -> None:
    process = cli.start("run", str(write_job(**compressed(source, counter, seconds=60))), "--json")
    wait_for(lambda: list(cli.home.glob("models/.*.building/model/config.json")), "half-made model")
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    wait_for(lambda: not cli.left(), "end of the tool")
    assert not [path for path in (cli.home / "models").iterdir() if path.name.startswith("big-model") and path.is_dir()]
    spec = write_job(**compressed(source, counter, seconds=0))
    code, job = cli.job(spec)
    assert (code, job["resources"]["compress"]["cached"]) == (0, False)


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(
    cli: Cli, write_job: WriteJob, source: Path, counter: Path
) -> None:
    spec = write_job(**compressed(source, counter))
    plan = json.loads(cli.here("run", str(spec), "--json", "--dry-run").stdout)["compress"]
    assert (plan["cached"], plan["gpus"], runs(counter)) == (False, 0, 0)
    assert plan["argv"][0][3] == str(source)
    made = cli.job(spec)[1]["resources"]["compress"]
    assert made["produced"] == plan["produced"]
    again = cli.here("run", str(spec), "--dry-run").stdout
    assert f"made before, {made['produced']}" in again


@pytest.mark.parametrize(
    ("compress", "path", "said"),
    [
        ({"tool": "gguf", "scheme": "q9"}, "compress.scheme", "q8_0"),
        ({"tool": "gguf"}, "compress.scheme", "needs one"),
        ({"tool": "gguf", "scheme": "q4_k_m"}, "compress.scheme", "ORCHESTRATOR_LLAMA_CPP"),
        ({"tool": "gguf", "scheme": "f16", "config": "x.yml"}, "compress.config", "does not honour"),
        ({"tool": "llm_compressor", "scheme": "w2a2"}, "compress.scheme", "w8a8"),
        (
            {"tool": "llm_compressor", "scheme": "w8a8", "calibration": {"path": "/no/such/file"}},
            "compress.calibration.path",
            "no file",
        ),
        (
            {"tool": "llm_compressor", "scheme": "fp8", "calibration": {"path": "/no"}},
            "compress.calibration",
            "needs none",
        ),
        ({"tool": "lmdeploy_auto_awq", "calibration": {"dataset": "ptb"}}, "compress.tool", "needs a GPU"),
        ({"tool": "lmdeploy_auto_awq"}, "compress.calibration.dataset", "samples: 0"),
        ({"tool": "llmc"}, "compress.config", "is required"),
        ({"tool": "command"}, "compress.command", "needs one"),
        ({"tool": "command", "command": ["x", "{model}"]}, "compress.command", "{output}"),
        ({"tool": "zip"}, "compress.tool", "'gguf'"),
        ({"tool": "command", "command": ["x", "{model}", "{output}"], "gpus": 1}, "compress.gpus", "has 0"),
    ],
)
def test_a_compression_that_cannot_be_done_here_is_refused_before_anything_starts(
    cli: Cli, write_job: WriteJob, source: Path, compress: dict[str, Any], path: str, said: str
) -> None:
    done = cli.here("run", str(write_job(serve={"model": str(source)}, compress=compress)), "--json")
    assert done.returncode == 2, done.stderr
    errors = {error["path"]: error["message"] for error in json.loads(done.stdout)["errors"]}
    assert said in errors[path]
    assert not (cli.home / "jobs").exists()


def test_a_model_that_is_not_here_cannot_be_compressed(cli: Cli, write_job: WriteJob) -> None:
    compress = {"tool": "command", "command": ["x", "{model}", "{output}"]}
    done = cli.here("run", str(write_job(serve={"model": "org/model"}, compress=compress)), "--json")
    errors = {error["path"]: error["message"] for error in json.loads(done.stdout)["errors"]}
    assert "'org/model'" in errors["compress.tool"]


def test_a_tool_that_is_not_installed_is_named_with_the_way_to_install_it(
    cli: Cli, write_job: WriteJob, source: Path
) -> None:
    spec = write_job(serve={"model": str(source)}, compress={"tool": "llm_compressor", "scheme": "w8a8"})
    code, job = cli.job(spec)
    assert (code, job["failure"]["code"]) == (1, "compressor_missing")
    assert "orchestrator install llmcompressor" in job["failure"]["hint"]
    known = cli.here("install", "--dry-run", "gguf", "llmcompressor").stdout
    assert "gguf would be installed" in known
    assert "llmcompressor would be installed" in known


def test_up_serves_what_the_spec_compresses(cli: Cli, write_job: WriteJob, source: Path, counter: Path) -> None:
    spec = write_job(**compressed(source, counter))
    up = cli.run("up", "--spec", str(spec), "--name", "made", "--detach", "--json")
    try:
        assert up.returncode == 0, up.stderr
        record = json.loads((cli.home / "deployments" / "made" / "deployment.json").read_text())
        assert (record["state"], runs(counter)) == ("ready", 1)
        assert record["resources"]["compress"]["source"] == str(source)
        assert "half of it is written" in cli.here("logs", "made", "--component", "compress").stdout
    finally:
        cli.here("down", "made")
