"""`orchestrator compare` on the fake engine, whose answers are wrong at a known rate."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestrator.support import FAKE, ROWS, Cli, wait_for


def fake(*arguments: str) -> dict[str, Any]:
    """A variant on the fake engine."""
    return {"engine": "custom", "model": "fake", "command": [*FAKE, *arguments]}


def written(folder: Path, serve: Any, **changes: Any) -> Path:
    """A comparison spec."""
    document = {
        "serve": serve,
        "evaluate": [{"evaluator": "straight", "datasets": [str(ROWS)], "concurrency": 4}],
        "probe": {"fidelity": {"enabled": False}},
        **changes,
    }
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def compared(cli: Cli, *args: str, timeout: float = 120) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `compare --json`."""
    done = cli.run("compare", *args, "--json", timeout=timeout)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@dataclass(frozen=True)
class Done:
    cli: Cli
    code: int
    found: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.cli.home / "comparisons" / str(self.found["id"])

    def variant(self, name: str) -> dict[str, Any]:
        return next(one for one in self.found["variants"] if one["name"] == name)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Iterator[Done]:
    """One comparison of a sound engine with an equal, slower one and with one that is wrong in a tenth more."""
    home = tmp_path_factory.mktemp("home")
    (home / "environments").symlink_to(evaluator_environments)
    serve = {
        "sound": fake("--latency", "0.02", "--slots", "4"),
        "slow": fake("--latency", "0.06", "--slots", "4"),
        "wrong": fake("--wrong-rate", "0.1"),
    }
    cli = Cli(home)
    code, found = compared(cli, str(written(home, serve, gate={"max_drop": 2.0}, name="three")))
    yield Done(cli, code, found)
    assert not cli.left()


def test_a_wrong_engine_is_found_out_and_stops_the_gate(three: Done) -> None:
    assert (three.code, three.found["verdict"], three.found["state"]) == (1, "NO-GO", "succeeded")
    wrong, slow = three.variant("wrong"), three.variant("slow")
    (row,) = wrong["differences"]
    assert wrong["verdict"] == "NO-GO"
    assert (row["pairs"], row["won"]) == (200, 0)
    assert row["difference"] == -100 * row["lost"] / 200 == wrong["results"][0]["score"] - 100
    assert row["p_adjusted"] < 0.001
    assert (slow["verdict"], slow["differences"][0]["equal_outputs"]) == ("GO", 200)


def test_the_speed_up_is_that_of_the_planted_pace(three: Done) -> None:
    assert three.variant("sound")["speed"]["speed_up"] == 1.0
    assert 0.25 < three.variant("slow")["speed"]["speed_up"] < 0.6  # 0.02 against 0.06 seconds an answer


def test_the_folder_holds_the_report_and_every_flipped_answer(three: Done) -> None:
    flips = [json.loads(line) for line in (three.folder / "flips.jsonl").read_text().splitlines()]
    assert len(flips) == three.variant("wrong")["differences"][0]["lost"]
    for flip in flips:
        assert flip["variant"] == "wrong"
        assert flip["prompt"]
        assert flip["baseline_output"] != flip["variant_output"]
        assert flip["gold"] in flip["baseline_output"]
    report = (three.folder / "comparison.md").read_text()
    assert report.startswith("# three: NO-GO")
    assert json.loads((three.folder / "comparison.json").read_text()) == three.found


def test_finished_jobs_are_compared_without_running_anything(three: Done) -> None:
    jobs = [str(three.variant(name)["job"]) for name in ("wrong", "sound")]
    before = set(three.cli.home.glob("jobs/*"))
    code, found = compared(three.cli, *jobs, "--baseline", "sound")
    (row,) = found["variants"][0]["differences"]
    assert (code, found["verdict"], found["baseline"]) == (0, None, "sound")
    assert row["lost"] == three.variant("wrong")["differences"][0]["lost"]
    assert set(three.cli.home.glob("jobs/*")) == before


@pytest.mark.parametrize(
    ("gate", "code", "verdict"),
    [("max_drop=30", 0, "GO"), ("max_drop=10,min_coverage=0.9", 3, "INCONCLUSIVE")],
)
def test_the_exit_code_is_the_gates(three: Done, gate: str, code: int, verdict: str) -> None:
    jobs = [str(three.variant(name)["job"]) for name in ("sound", "wrong")]
    ended, found = compared(three.cli, *jobs, "--gate", gate)
    assert (ended, found["verdict"]) == (code, verdict)
    row = found["variants"][1]["differences"][0]
    assert (row["samples_to_decide"] is not None) == (verdict == "INCONCLUSIVE")


def test_the_table_names_engine_score_time_speed_up_difference_p_and_verdict(three: Done) -> None:
    done = three.cli.run("compare", *(str(three.variant(name)["job"]) for name in ("sound", "wrong")))
    assert done.returncode == 0
    for word in ("variant", "score", "inference s", "speed-up", "difference", "equal outputs", "baseline", "lower"):
        assert word in done.stdout


def test_job_specs_are_run_and_a_finished_job_may_stand_beside_them(three: Done, tmp_path: Path) -> None:
    spec = tmp_path / "again.yaml"
    evaluate = [{"evaluator": "straight", "datasets": [str(ROWS)], "concurrency": 8}]
    probe = {"fidelity": {"enabled": False}}
    spec.write_text(yaml.safe_dump({"serve": fake(), "evaluate": evaluate, "probe": probe}))
    code, found = compared(three.cli, str(three.variant("sound")["job"]), str(spec), "--gate", "max_drop=2")
    assert (code, found["verdict"]) == (0, "GO")
    assert [one["name"] for one in found["variants"]] == ["sound", "again"]
    assert found["variants"][1]["job"] != found["variants"][0]["job"]


def test_job_specs_that_ask_other_questions_are_refused_with_the_path(three: Done, tmp_path: Path) -> None:
    paths = []
    for name, limit in (("a", 20), ("b", 30)):
        evaluate = [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": limit}]
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump({"serve": fake(), "evaluate": evaluate}))
    done = three.cli.run("compare", *map(str, paths), "--json")
    assert done.returncode == 2
    (error,) = json.loads(done.stdout)["errors"]
    assert error["path"].endswith("b.yaml: evaluate.0.limit")


def test_every_error_of_every_variant_is_told_at_once(three: Done, tmp_path: Path) -> None:
    serve = {"a": {"engine": "custom", "modle": "x", "command": ["x"]}, "b": {"engine": "vlm", "model": "fake"}}
    evaluate = [{"evaluator": "straight", "datasets": ["nowhere.jsonl"]}]
    spec = written(tmp_path, serve, evaluate=evaluate, baseline="c", gate={"max_dorp": 1})
    done = three.cli.run("compare", str(spec), "--json")
    errors = {error["path"]: error["message"] for error in json.loads(done.stdout)["errors"]}
    assert done.returncode == 2
    assert errors.keys() >= {"serve.a.modle", "serve.b.engine", "baseline", "gate.max_dorp", "evaluate.0.datasets.0"}
    assert "`model`" in errors["serve.a.modle"]
    assert "vllm" in errors["serve.b.engine"]


def test_jobs_that_cannot_share_a_port_are_not_run_side_by_side(three: Done, tmp_path: Path) -> None:
    serve = {"a": {**fake(), "port": 13131}, "b": {**fake(), "port": 13131}}
    done = three.cli.run("compare", str(written(tmp_path, serve, mode="side_by_side")), "--json")
    (error,) = json.loads(done.stdout)["errors"]
    assert (done.returncode, error["path"]) == (2, "mode")
    assert "13131" in error["message"]


def test_a_dry_run_shows_every_command_and_starts_nothing(three: Done, tmp_path: Path) -> None:
    before = set(three.cli.home.glob("*/*"))
    done = three.cli.run("compare", str(written(tmp_path, [{"name": "x", **fake()}, fake()])), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("orchestrator.fake_engine") == 2
    assert "== x (baseline)" in done.stdout
    assert set(three.cli.home.glob("*/*")) == before


@pytest.mark.slow
def test_side_by_side_runs_at_once_and_says_so(cli: Cli, tmp_path: Path) -> None:
    evaluate = [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": 20}]
    spec = written(tmp_path, {"a": fake(), "b": fake()}, evaluate=evaluate, mode="side_by_side")
    code, found = compared(cli, str(spec))
    assert (code, found["state"]) == (0, "succeeded")
    events = [_events(Path(one["folder"])) for one in found["variants"]]
    assert max(own["starting"] for own in events) < min(own["succeeded"] for own in events)
    assert all("others ran" in one["speed"]["notes"][0] for one in found["variants"])


@pytest.mark.slow
def test_a_variant_whose_engine_does_not_start_leaves_the_others_compared(cli: Cli, tmp_path: Path) -> None:
    evaluate = [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": 20}]
    serve = {"a": fake(), "broken": fake("--exit-on-load", "3"), "c": fake()}
    code, found = compared(cli, str(written(tmp_path, serve, evaluate=evaluate)))
    assert (code, found["state"]) == (3, "incomplete")
    assert [one["state"] for one in found["variants"]] == ["succeeded", "failed", "succeeded"]
    assert found["variants"][1]["failure"]["code"] == "engine_exited"
    assert found["variants"][2]["differences"][0]["pairs"] == 20


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_where_it_was(cli: Cli, tmp_path: Path) -> None:
    serve = {"a": fake(), "b": fake("--latency", "0.05", "--slots", "4"), "c": fake()}
    process = cli.start("compare", str(written(tmp_path, serve)), "--json")
    _wait_for_answers(cli, "b", 40, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert [one["state"] for one in json.loads(out)["variants"]] == ["succeeded", "cancelled", "queued"]
    assert not cli.left()
    first = json.loads(out)
    code, found = compared(cli, "--resume", first["id"])
    assert (code, found["state"], found["id"]) == (0, "succeeded", first["id"])
    assert found["created_at"] == first["created_at"]
    assert found["variants"][0]["job"] == first["variants"][0]["job"]
    assert found["variants"][1]["speed"]["replayed"] >= 40
    assert found["variants"][1]["speed"]["speed_up"] is None
    assert found["variants"][2]["speed"]["speed_up"] is not None


def _events(folder: Path) -> dict[str, str]:
    """State -> when it was entered."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {event["state"]: event["time"] for event in events if event["type"] == "state"}


def _wait_for_answers(cli: Cli, variant: str, count: int, process: subprocess.Popen[str]) -> None:
    def enough() -> bool:
        assert process.poll() is None, process.communicate()
        records = (json.loads(path.read_text()) for path in cli.home.glob("jobs/*/job.json"))
        return any(one["labels"].get("variant") == variant and one["progress"]["done"] >= count for one in records)

    wait_for(enough, f"{count} answers of {variant}")
