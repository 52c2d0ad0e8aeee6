"""Every way a job can end: its state, its code, its exit code, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launchers.leftovers import temporary_folder
from tests.orchestrator.support import FAKE, ROWS, Cli, wait_for

WriteJob = Callable[..., Path]


@pytest.fixture
def foreign_server() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Somebody else's HTTP server."""
    with socket.socket() as picked:
        picked.bind(("127.0.0.1", 0))
        port = picked.getsockname()[1]
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers, "foreign server")
    yield server, port
    server.terminate()
    server.wait()


def test_a_job_whose_samples_are_all_answered_succeeds(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job())
    assert (code, job["state"], job["failure"]) == (0, "succeeded", None)
    result = job["results"][0]
    assert (result["asked"], result["answered"], result["failed"], result["coverage"]) == (20, 20, 0, 1.0)
    assert result["score"] == 100.0
    assert result["interval"][0] < 100.0
    assert set(job["times"]) == {"allocating", "starting", "probing", "evaluating", "stopping"}
    assert job["teardown"]["clean"]
    assert job["teardown"]["processes"] >= 1
    assert set(job["teardown"]["ports"].values()) == {"free"}
    assert job["gateway"]["answered"] == 20


def test_a_planted_score_comes_out_exactly(cli: Cli, write_job: WriteJob) -> None:
    evaluate = [{"evaluator": "straight", "datasets": [str(ROWS)]}]
    _, job = cli.job(write_job("--wrong-rate", "0.3", evaluate=evaluate))
    samples = [json.loads(line) for line in (Path(job["folder"]) / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 200
    right = sum(sample["correct"] for sample in samples)
    assert 0.2 < 1 - right / 200 < 0.4
    assert job["results"][0]["score"] == pytest.approx(right / 2)


def test_every_transition_is_an_event_numbered_from_one(cli: Cli, write_job: WriteJob) -> None:
    _, job = cli.job(write_job())
    events = [json.loads(line) for line in (Path(job["folder"]) / "events.jsonl").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    states = [event["state"] for event in events if event["type"] == "state"]
    assert states == ["allocating", "starting", "probing", "evaluating", "stopping", "succeeded"]


def test_requests_that_fail_for_good_are_excluded_and_the_job_is_incomplete(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--fail-prompts", "0.3"))
    result = job["results"][0]
    assert (code, job["state"], job["failure"]["code"]) == (3, "incomplete", "coverage_too_low")
    assert 0 < result["failed"] < 20
    assert result["coverage"] == result["answered"] / 20
    assert result["score"] == 100.0, "the answered samples are all right: a failed one must not count as wrong"
    assert job["gateway"]["failed"] == result["failed"]
    samples = [json.loads(line) for line in (Path(job["folder"]) / "samples.jsonl").read_text().splitlines()]
    assert {sample["failed"] for sample in samples if sample["failed"]} == {"http_500"}


def test_empty_answers_are_failures_not_wrong_answers(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--empty-prompts", "0.3"))
    assert (code, job["results"][0]["score"]) == (3, 100.0)
    assert job["gateway"]["failed_by_cause"] == {"empty_answer": job["results"][0]["failed"]}


def test_a_lower_demand_on_coverage_makes_it_succeed(cli: Cli, write_job: WriteJob) -> None:
    spec = write_job("--fail-prompts", "0.3")
    lenient = spec.read_text().replace("evaluator: straight", "evaluator: straight\n  min_coverage: 0.1")
    spec.write_text(lenient)
    code, job = cli.job(spec)
    assert (code, job["state"]) == (0, "succeeded")
    assert job["results"][0]["failed"] > 0


def test_transient_errors_are_retried_and_cost_nothing(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--error-rate", "0.2"))
    assert (code, job["results"][0]["coverage"]) == (0, 1.0)
    assert job["gateway"]["retried"] > 0


def test_a_noisy_start_does_not_block(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--noise", "1000000"))
    assert (code, job["state"]) == (0, "succeeded")
    assert Path(job["logs"]["engine-0"]).stat().st_size > 1_000_000


def test_a_foreign_server_on_the_port_is_found_and_left_alone(
    cli: Cli, write_job: WriteJob, foreign_server: tuple[subprocess.Popen[bytes], int]
) -> None:
    server, port = foreign_server
    code, job = cli.job(write_job(serve={"port": port}))
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", "foreign_server")
    assert str(server.pid) in job["failure"]["message"]
    assert server.poll() is None


def test_an_engine_that_answers_on_a_port_of_another_is_not_ready(
    cli: Cli, write_job: WriteJob, foreign_server: tuple[subprocess.Popen[bytes], int]
) -> None:
    """The engine takes long to load, and somebody else's server comes up on the leased port meanwhile."""
    server, port = foreign_server
    server.terminate()
    server.wait()
    spec = write_job("--load-time", "20", serve={"port": port})
    process = cli.start("run", str(spec), "--json")
    cli.wait_for_state("starting")
    intruder = subprocess.Popen(server.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        out, _ = process.communicate(timeout=30)
        job = json.loads(out)
        assert job["failure"]["code"] == "foreign_server"
        assert (job["teardown"]["clean"], job["teardown"]["ports"][str(port)]) == (True, "foreign")
        assert intruder.poll() is None
    finally:
        intruder.terminate()
        intruder.wait()


@pytest.mark.parametrize(
    ("engine", "serve", "probe", "expected"),
    [
        (["--exit-on-load", "3"], {}, {}, "engine_exited"),
        (["--exit-on-load", "1", "--load-log", "torch.OutOfMemoryError: CUDA out of memory."], {}, {}, "out_of_memory"),
        (["--hang-on-load"], {"stall_timeout": 1.0}, {}, "startup_stalled"),
        (["--load-time", "30"], {"startup_timeout": 1.0}, {}, "startup_timeout"),
        (["--health-early", "--listen", "early", "--load-time", "60"], {}, {"timeout": 1.0}, "probe_failed"),
        (["--fail-first", "1000"], {}, {}, "probe_failed"),
        (["--no-such-flag"], {}, {}, "bad_engine_argument"),
    ],
)
def test_a_start_that_fails_says_why(
    cli: Cli, write_job: WriteJob, engine: list[str], serve: dict[str, float], probe: dict[str, float], expected: str
) -> None:
    code, job = cli.job(write_job(*engine, serve=serve, probe=probe))
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", expected)
    assert "orchestrator.fake_engine" in job["failure"]["command"]
    assert job["failure"]["log_tail"]
    assert job["teardown"]["clean"]


def test_a_command_that_does_not_exist_is_named(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job(serve={"command": ["/no/such/engine", "{port}"]}))
    assert (code, job["failure"]["code"]) == (1, "bad_engine_argument")
    assert "/no/such/engine" in job["failure"]["message"]


def events_of(job: dict[str, Any], word: str) -> list[dict[str, Any]]:
    """Data of the events whose message begins with `word`."""
    events = [json.loads(line) for line in (Path(job["folder"]) / "events.jsonl").read_text().splitlines()]
    return [event["data"] for event in events if event["message"].startswith(word)]


def test_an_engine_that_dies_in_the_middle_is_started_again_and_every_sample_is_answered(
    cli: Cli, write_job: WriteJob
) -> None:
    code, job = cli.job(write_job("--crash-after", "14", "--latency", "0.05"))
    assert (code, job["state"], job["results"][0]["score"]) == (0, "succeeded", 100.0)
    assert job["gateway"]["failed"] == 0
    (lost,), (restart,), (back,) = (events_of(job, word) for word in ("replica lost", "restart", "back after"))
    assert (lost["cause"], lost["restarts_left"], restart["restarts"]) == ("engine_exited", 3, 1)
    assert back["seconds"] >= restart["seconds"] > 0.5


def test_an_engine_that_dies_again_and_again_fails_the_job(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--crash-after", "3", "--latency", "0.05", serve={"max_restarts": 1}))
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", "engine_exited")
    assert [lost["restarts_left"] for lost in events_of(job, "replica lost")] == [1, 0]
    assert job["teardown"]["clean"]


def test_an_engine_that_hangs_in_the_middle_is_found_though_its_health_is_good(cli: Cli, write_job: WriteJob) -> None:
    spec = write_job("--hang-after", "8", probe={"timeout": 2.0, "interval": 1.0}, serve={"max_restarts": 0})
    code, job = cli.job(spec)
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", "engine_unresponsive")


def test_an_engine_that_hangs_in_the_middle_is_killed_and_started_again(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--hang-after", "14", probe={"timeout": 2.0, "interval": 1.0}))
    assert (code, job["state"], job["results"][0]["coverage"]) == (0, "succeeded", 1.0)
    assert [lost["cause"] for lost in events_of(job, "replica lost")] == ["engine_unresponsive"]


def test_one_of_two_replicas_may_be_killed_and_every_sample_is_answered(cli: Cli, write_job: WriteJob) -> None:
    process = cli.start("run", str(write_job("--latency", "0.3", serve={"replicas": 2})), "--json")
    folder = cli.wait_for_state("evaluating")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    pids = [event["data"]["pid"] for event in events if "pid" in event["data"]]
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=30)
    job = json.loads(out)
    assert (job["state"], job["results"][0]["coverage"]) == ("succeeded", 1.0)
    assert "replica lost" in (folder / "events.jsonl").read_text()


def test_the_time_limit_of_a_job_ends_it(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--latency", "5", timeout=3.0))
    assert (code, job["state"], job["failure"]["code"]) == (1, "failed", "timeout")


def test_a_worker_that_left_the_session_and_ignores_sigterm_is_gone(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.job(write_job("--detached-worker", "--workers", "2"))
    assert code == 0
    assert job["teardown"]["processes"] >= 4
    assert job["teardown"]["clean"]


@pytest.mark.parametrize("state", ["starting", "probing", "evaluating"])
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 4)])
def test_a_signal_in_any_phase_ends_in_a_clean_teardown(
    cli: Cli, write_job: WriteJob, state: str, number: signal.Signals, expected: int
) -> None:
    slow = {
        "starting": ["--load-time", "30"],
        "probing": ["--latency", "30"],
        "evaluating": ["--tokens-per-second", "20"],
    }
    code, job = cli.interrupted(write_job(*slow[state]), state, number)
    assert (code, job["state"], job["failure"]["code"]) == (expected, "cancelled", "cancelled")
    assert job["teardown"]["clean"]


def test_a_signal_while_stopping_does_not_change_the_outcome(cli: Cli, write_job: WriteJob) -> None:
    code, job = cli.interrupted(write_job("--ignore-sigterm"), "stopping", signal.SIGINT)
    assert (code, job["state"]) == (0, "succeeded")
    assert job["teardown"]["seconds"] < 8, "the second request to stop leaves no grace"


def test_kill_9_of_the_runner_leaves_no_process_and_no_temporary_file_behind(cli: Cli, write_job: WriteJob) -> None:
    process = cli.start("run", str(write_job("--detached-worker", "--ignore-sigterm", "--latency", "1")))
    [working] = (path for path in cli.wait_for_state("evaluating").rglob("engine-0") if path.is_dir())
    temporary = temporary_folder(working)
    assert temporary.is_dir()
    process.kill()
    process.communicate()

    wait_for(lambda: not cli.left() and not temporary.exists(), "end of every process and file", timeout=10)


def test_a_job_whose_runner_was_killed_is_closed_as_lost_by_the_next_run(cli: Cli, write_job: WriteJob) -> None:
    process = cli.start("run", str(write_job("--latency", "1")))
    folder = cli.wait_for_state("evaluating")
    process.kill()
    process.communicate()
    cli.job(write_job())
    record = json.loads((folder / "job.json").read_text())
    assert (record["state"], record["failure"]["code"]) == ("failed", "lost")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_a_resumed_job_asks_only_what_was_not_answered(cli: Cli, write_job: WriteJob) -> None:
    process = cli.start("run", str(write_job("--latency", "0.5", "--slots", "4")))
    folder = cli.wait_for_state("evaluating")
    wait_for(lambda: json.loads((folder / "job.json").read_text())["progress"]["done"] >= 8, "eight answers")
    process.kill()
    process.communicate()
    code, job = cli.job(write_job("--latency", "0.5", "--slots", "4"), "--resume", folder.name)
    assert (code, job["results"][0]["score"], job["resumed_from"]) == (0, 100.0, folder.name)
    assert job["gateway"]["replayed"] >= 8
    assert job["gateway"]["asked"] == job["gateway"]["answered"] == 20


def test_an_answer_too_large_for_the_journal_is_not_asked_for_again(
    cli: Cli, write_job: WriteJob, tmp_path: Path
) -> None:
    rows = tmp_path / "large.jsonl"
    rows.write_text(json.dumps({"question": "Say much.", "answer": "much " * 1_000_000 + "#### 12"}) + "\n")
    evaluate = [{"evaluator": "straight", "datasets": [str(rows)]}]
    spec = write_job(serve={"command": [*FAKE[:-1], str(rows), "--ignore-max-tokens"]}, evaluate=evaluate)
    code, first = cli.job(spec)
    assert (code, first["results"][0]["score"], first["gateway"]["replayed"]) == (0, 100.0, 0)
    code, again = cli.job(spec, "--resume", first["id"])
    assert (code, again["results"][0]["score"], again["gateway"]["replayed"]) == (0, 100.0, 1)


def test_a_job_that_cannot_be_resumed_is_a_bad_command(cli: Cli, write_job: WriteJob) -> None:
    refused = cli.here("run", str(write_job()), "--resume", "no-such-job")
    assert (refused.returncode, "no job `no-such-job`" in refused.stderr) == (2, True)


def test_an_external_server_is_evaluated_and_not_stopped(cli: Cli, write_job: WriteJob, tmp_path: Path) -> None:
    deployed = cli.run("up", "--spec", str(write_job()), "--name", "outside", "--detach", "--json")
    url = json.loads(deployed.stdout)["url"]
    document = write_job().read_text()
    external = tmp_path / "external.yaml"
    evaluate = document[: document.index("serve:")]
    external.write_text(f"{evaluate}serve:\n  engine: external\n  url: {url}\n  served_model_name: fake\n")
    code, job = cli.job(external)
    assert (code, job["state"], job["results"][0]["score"]) == (0, "succeeded", 100.0)
    assert json.loads(cli.here("ps", "--json").stdout)[0]["state"] == "ready"
    assert cli.here("down", "outside").returncode == 0


def test_a_package_that_is_broken_after_all_answers_are_scored_costs_no_score(
    cli: Cli, write_job: WriteJob, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / "pyarrow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise ImportError("libarrow.so: cannot open shared object file")')
    cli.env["PYTHONPATH"] += os.pathsep + str(broken.parent)
    code, record = cli.job(write_job())
    assert (code, record["state"], record["results"][0]["answered"]) == (0, "succeeded", 20)
    [note] = record["notes"]
    assert "libarrow.so" in note
    assert note in Path(record["report"]).read_text()
    assert record["teardown"]["clean"]
