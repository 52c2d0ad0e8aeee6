"""Measured speeds of several variants: laid side by side, each against the baseline's, doubts kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.comparing.assessing import assess, is_complete
from orchestrator.comparing.gate import Gate
from orchestrator.comparing.model import Comparison, Mode, VariantResult
from orchestrator.comparing.report import markdown
from orchestrator.comparing.runs import Run, read_run
from orchestrator.comparing.speed_tables import speed_notes, speed_tables
from orchestrator.record import State, now
from orchestrator.reporting.comparison import comparison_csv, comparison_page
from orchestrator.speed import ContextSpeed, LoadSpeed, Memory, SpeedResult, ThroughputSpeed
from tests.orchestrator.comparing.support import run, verdicts

RIGHT = verdicts(True, True, False)


def by_context(context: int, speed: float | None, *invalid: str, generated: float = 32) -> ContextSpeed:
    return ContextSpeed(
        context=context,
        prompt_tokens=context,
        generate=32,
        generated=generated,
        counted_by="usage",
        speed=speed,
        speeds=[speed] if speed else [],
        ttft=0.01,
        decode=speed,
        memory=Memory(bytes=430_000_000, kind="resident"),
        invalid=list(invalid),
    )


def at_once(output_per_second: float) -> ThroughputSpeed:
    return ThroughputSpeed(
        prompts=25,
        input=64,
        output=128,
        seed=1,
        seconds=2,
        requests_per_second=1,
        output_tokens_per_second=output_per_second,
        total_tokens_per_second=2,
        latency=None,
        memory=None,
    )


def under_load(in_flight: int, output_per_second: float) -> LoadSpeed:
    return LoadSpeed(
        by="concurrency",
        offered=in_flight,
        seconds=4,
        asked=9,
        failed=0,
        requests_per_second=1,
        output_tokens_per_second=output_per_second,
        total_tokens_per_second=2,
        ttft=None,
        inter_token=None,
        latency=None,
        goodput=None,
        good=None,
        saturated=False,
    )


def measured(*context: ContextSpeed, **parts: Any) -> SpeedResult:
    return SpeedResult(
        seed=1, tokenizer="t", full_length="ignore_eos", max_model_len=2048, context=list(context), **parts
    )


def variants(*runs: Run, mode: Mode = "in_turn", gate: Gate | None = None) -> list[VariantResult]:
    return assess(runs, runs[0].name, gate, mode)[0]


def comparison(found: list[VariantResult]) -> Comparison:
    return Comparison(id="c", name="two", created_at=now(), baseline=found[0].name, variants=found)


SLOW = run(
    "slow",
    RIGHT,
    speed=[
        measured(
            by_context(1, 100.0),
            by_context(256, 50.0),
            throughput=[at_once(200.0)],
            load=[under_load(1, 80.0), under_load(16, 90.0)],
        )
    ],
)
QUICK = run(
    "quick",
    RIGHT,
    speed=[
        measured(
            by_context(1, 400.0),
            by_context(256, 75.0, "the gateway was the limit"),
            throughput=[at_once(900.0)],
            load=[under_load(1, 160.0), under_load(16, 450.0)],
        )
    ],
)


def test_each_speed_is_divided_by_the_baselines_at_the_same_place() -> None:
    slow, quick = variants(SLOW, QUICK)
    assert [(one.part, one.at, one.ratio) for one in quick.speed_ratios] == [
        ("context", "context 1", 4.0),
        ("context", "context 256", 1.5),
        ("throughput", "25 prompts at once", 4.5),
        ("load", "concurrency 1", 2.0),
        ("load", "concurrency 16", 5.0),
    ]
    assert {one.ratio for one in slow.speed_ratios} == {1.0}


def test_a_ratio_of_an_invalid_figure_is_invalid_whichever_of_the_two_it_is() -> None:
    _, quick = variants(SLOW, QUICK)
    _, slow = variants(QUICK, SLOW)
    assert [one.invalid for one in quick.speed_ratios[:2]] == [[], ["the gateway was the limit"]]
    assert [one.invalid for one in slow.speed_ratios[:2]] == [[], ["the baseline's: the gateway was the limit"]]


def test_speeds_measured_side_by_side_are_all_marked() -> None:
    _, quick = variants(SLOW, QUICK, mode="side_by_side")
    assert all("measured while the others ran on the same machine" in one.invalid for one in quick.speed_ratios)


def test_work_that_is_not_the_same_is_marked() -> None:
    short = run("short", RIGHT, speed=[measured(by_context(1, 400.0, generated=16))])
    (ratio,) = variants(SLOW, short)[1].speed_ratios
    assert ratio.invalid == ["not the same work: 1 tokens in, 16 out, the baseline's 1 tokens in, 32 out"]


def test_what_only_one_has_measured_has_no_ratio_and_a_row_of_dashes() -> None:
    fewer = run("fewer", RIGHT, speed=[measured(by_context(1, 400.0), skipped=["context 256 does not fit"])])
    found = comparison(variants(SLOW, fewer))
    title, _, rows = speed_tables(found)[0]
    assert title.startswith("Speed by context length (memory: resident")
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("1", "slow", "1.00"),
        ("1", "fewer", "4.00"),
        ("256", "slow", "1.00"),
        ("256", "fewer", "-"),
    ]
    assert set(rows[3][2:]) == {"-"}
    assert "fewer: not measured: context 256 does not fit" in speed_notes(found)


def test_the_report_the_page_and_the_csv_show_accuracy_and_speeds_with_their_marks() -> None:
    found = comparison(variants(SLOW, QUICK))
    report, page, table = markdown(found, []), comparison_page(found, []), comparison_csv(found)
    for text in (report, page):
        for shown in ("rows accuracy", "Speed by context length", "Throughput", "Load", "75.00 (invalid)"):
            assert shown in text
        assert "1.50 (invalid)" in text
        assert "quick: INVALID as the engine&#39;s speed, context 256" in text.replace("engine's", "engine&#39;s")
    assert "| 1 | quick | 32 | 400.00 | 400.00 | 0.0100 | 430 | 4.00 |" in report
    assert page.count("<svg") == 3, "speed and memory by context length, output by load"
    assert "quick (1 invalid)" in page
    assert "1,quick,32,400.00,400.00,0.0100,430,4.00" in table.splitlines()


def test_a_comparison_without_measured_speeds_shows_none() -> None:
    found = comparison(variants(run("a", RIGHT), run("b", RIGHT)))
    assert "Speed by context length" not in comparison_page(found, [])
    assert speed_tables(found) == []


def test_a_measurement_without_a_counterpart_is_no_complete_comparison() -> None:
    assert is_complete(variants(SLOW, QUICK), "slow")
    assert not is_complete(variants(SLOW, run("none", RIGHT)), "slow")


def test_a_gate_over_speeds_alone_says_why_it_cannot_decide() -> None:
    runs = [run(name, [], [], speed=[measured(by_context(1, 100.0))]) for name in ("a", "b")]
    assert (variants(*runs, gate=Gate())[1].verdict, variants(*runs, gate=Gate())[1].reasons) == (
        "INCONCLUSIVE",
        ["there is no score to judge"],
    )


@pytest.mark.parametrize(
    ("evaluators", "busy"), [(["straight-0", "speed-1"], 1.0), (["speed-0", "straight-1"], 2.0), (["speed-0"], None)]
)
def test_requests_that_measured_speed_are_no_time_of_the_evaluation(
    tmp_path: Path, evaluators: list[str], busy: float | None
) -> None:
    """The first evaluator's requests take 1 second, those of the second 2."""
    record = run("job", RIGHT, state=State.SUCCEEDED).record
    (tmp_path / "job.json").write_text(record.model_dump_json())
    events = [_event(number + 1, 10 * number, f"{name} starts") for number, name in enumerate(evaluators)]
    (tmp_path / "events.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in events))
    asked = [_request(1.0, 1.0), _request(11.0, 2.0)][: len(evaluators)]
    (tmp_path / "requests.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in asked))
    assert read_run("job", tmp_path).busy == busy


def _event(seq: int, moment: int, message: str) -> dict[str, Any]:
    time = f"1970-01-01T00:00:{moment:02}.000+00:00"
    told = {"seq": seq, "time": time, "attempt": 1, "type": "note", "state": "evaluating", "phase": "evaluating"}
    return {**told, "message": message, "data": {"command": "x"}}


def _request(time: float, total: float) -> dict[str, Any]:
    return {"time": time, "queue_wait": 0.0, "total": total, "replayed": False, "attempts": 1}
