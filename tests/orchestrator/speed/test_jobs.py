"""Jobs that measure where not all goes well."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.speed import SpeedResult
from tests.orchestrator.support import Cli

WriteJob = Callable[..., Path]


def speed(**parts: Any) -> list[dict[str, Any]]:
    """The `evaluate` of a job that measures these parts."""
    return [{"evaluator": "speed", "speed": parts}]


def result_of(record: dict[str, Any]) -> SpeedResult:
    return SpeedResult.model_validate(record["speed"][0])


def test_a_sweep_ends_where_more_load_brings_no_more(cli: Cli, write_job: WriteJob) -> None:
    load = {"input": 8, "output": 8, "concurrency": [1, 4, 16, 64], "seconds": 1.0, "objective": {"ttft": 0.25}}
    pace = ("--latency", "0.1", "--tokens-per-second", "100", "--slots", "4")
    code, record = cli.job(write_job(*pace, evaluate=speed(load=load)))
    points = result_of(record).load
    assert code == 0, record["failure"]
    assert [(point.offered, point.saturated) for point in points] == [(1.0, False), (4.0, False), (16.0, True)]
    assert result_of(record).skipped == ["load: concurrency 64, past saturation"]
    assert points[0].good == 1.0
    assert points[2].good is not None
    assert points[2].good < 0.5, "sixteen wait for four slots"


def test_lengths_that_do_not_fit_are_named_and_the_others_measured(cli: Cli, write_job: WriteJob) -> None:
    context = {"lengths": [8, 500], "generate": 8, "repeats": 1}
    code, record = cli.job(write_job("--max-model-len", "100", evaluate=speed(context=context)))
    result = result_of(record)
    assert code == 0, record["failure"]
    assert [row.context for row in result.context] == [8]
    assert result.skipped == ["context 500: 500 + 8 tokens do not fit into 100"]
    assert "not measured: context 500" in Path(record["report"]).read_text()


def test_where_nothing_fits_the_job_fails_and_says_so(cli: Cli, write_job: WriteJob) -> None:
    code, record = cli.job(write_job("--max-model-len", "100", evaluate=speed(context={})))
    assert (code, record["failure"]["code"]) == (1, "evaluator_failed")
    assert "129024 + 2048 tokens do not fit into 100" in record["failure"]["message"]


def test_requests_that_fail_are_counted_and_end_the_job_incomplete(cli: Cli, write_job: WriteJob) -> None:
    throughput = {"input": 16, "output": 4, "prompts": 40}
    # With this seed the 14th, 30th, 32nd, 40th and 41st request fail: none of the few before the measurement.
    faults = ("--error-rate", "0.2", "--error-status", "400", "--seed", "32")
    code, record = cli.job(write_job(*faults, evaluate=speed(throughput=throughput)))
    [row] = result_of(record).throughput
    assert (code, record["state"], record["failure"]["code"]) == (3, "incomplete", "coverage_too_low")
    assert (row.prompts, row.failed) == (40, 5)
    assert row.invalid == ["5 of 40 requests failed (http_400)"]


def test_ctrl_c_in_the_middle_of_a_measurement_leaves_nothing_running(cli: Cli, write_job: WriteJob) -> None:
    context = {"lengths": [10], "generate": 10_000, "repeats": 3}
    spec = write_job("--tokens-per-second", "50", evaluate=speed(context=context))
    code, record = cli.interrupted(spec, "evaluating", signal.SIGINT)
    assert (code, record["state"]) == (130, "cancelled")
    assert record["teardown"]["clean"]


def test_a_measurement_that_takes_too_long_is_ended_by_its_time_limit(cli: Cli, write_job: WriteJob) -> None:
    context = {"lengths": [10], "generate": 10_000, "repeats": 3}
    evaluate = [{**speed(context=context)[0], "timeout": 1.0}]
    code, record = cli.job(write_job("--tokens-per-second", "50", evaluate=evaluate))
    assert (code, record["failure"]["code"]) == (1, "timeout")
    assert record["teardown"]["clean"]


def test_bench_measures_what_a_spec_serves_whatever_it_evaluates(cli: Cli, write_job: WriteJob) -> None:
    spec = write_job()
    done = cli.run("bench", str(spec), "--only", "throughput", "--seed", "7", "--json")
    record = json.loads(done.stdout)
    [row] = result_of(record).throughput
    assert done.returncode == 0, done.stderr
    assert record["results"] == []
    assert (row.prompts, row.input, row.output, row.seed) == (25, 64, 128.0, 7)
    assert record["spec"]["evaluate"] == [{"evaluator": "speed", "speed": {"throughput": {}, "seed": 7}}]


def test_bench_shows_its_plan_and_starts_nothing(cli: Cli, write_job: WriteJob) -> None:
    done = cli.run("bench", str(write_job()), "--dry-run", "--json")
    [evaluator] = json.loads(done.stdout)["evaluators"]
    assert done.returncode == 0
    assert evaluator["argv"][1:3] == ["-m", "orchestrator.evaluators.speed"]
    assert json.loads(evaluator["files"]["plan.json"])["spec"]["context"]["lengths"][-1] == 129024
    assert not (cli.home / "jobs").exists()


def test_what_the_speed_evaluator_has_no_use_for_is_refused(cli: Cli, write_job: WriteJob) -> None:
    wrong = {"datasets": ["gsm8k"], "limit": 3, "concurrency": 4, "generation": {"max_tokens": 4}}
    evaluate = [{"evaluator": "speed", **wrong}, {"evaluator": "straight", "speed": {}}]
    done = cli.run("run", str(write_job(evaluate=evaluate)), "--json")
    found = {error["path"] for error in json.loads(done.stdout)["errors"]}
    assert done.returncode == 2
    assert found == {*(f"evaluate.0.{name}" for name in wrong), "evaluate.1.datasets", "evaluate.1.speed"}
