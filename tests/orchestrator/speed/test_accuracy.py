"""What is measured on an engine whose pace is known, against that pace: within 5%.

On a busy machine any engine is slower than its pace: asked directly, it tells what it did (`--timings`), which is the
truth. What is off is measured again, and says nothing where the machine was late at the last attempt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.evaluators.speed.asking import Client, Timing
from orchestrator.evaluators.speed.figures import percentiles
from orchestrator.speed import LoadSpeed, SpeedResult
from tests.orchestrator.speed.support import fake_engine, lateness, skip_disturbed
from tests.orchestrator.support import Cli

WriteJob = Callable[..., Path]
MOST = 0.05
ATTEMPTS = 3
FIRST, PACE = 0.3, 50.0
SPEED: dict[str, Any] = {
    "context": {"lengths": [1, 300], "generate": 20, "repeats": 1},
    "throughput": {"input": 64, "output": 30, "prompts": 10, "seed": 2024},
    "load": {"input": 20, "output": 15, "concurrency": [4], "rate": [8.0], "arrivals": "constant", "seconds": 1.8},
    "seed": 5,
}


def error(found: float | None, truth: float) -> float:
    """Relative; without a figure it is infinite."""
    return float("inf") if found is None else abs(found / truth - 1)


def errors_of(result: SpeedResult) -> Iterator[tuple[str, float]]:
    """By how much each figure is off."""
    for row in result.context:
        yield f"context {row.context} first token", error(row.ttft, FIRST + 1 / PACE)
        yield f"context {row.context} speed", error(row.speed, 20 / (FIRST + 20 / PACE))
        yield f"context {row.context} decode", error(row.decode, PACE)
    [batch] = result.throughput
    seconds = FIRST + 30 / PACE
    yield "batch requests", error(batch.requests_per_second, 10 / seconds)
    yield "batch tokens", error(batch.total_tokens_per_second, 10 * 94 / seconds)
    closed, arriving = result.load
    yield from errors_of_load(closed, 4 / (FIRST + 15 / PACE))
    yield from errors_of_load(arriving, 8.0)


def errors_of_load(point: LoadSpeed, requests: float) -> Iterator[tuple[str, float]]:
    assert point.ttft
    assert point.inter_token
    assert point.latency
    yield f"{point.by} requests", error(point.requests_per_second, requests)
    yield f"{point.by} tokens", error(point.output_tokens_per_second, 15 * requests)
    yield f"{point.by} first token", error(point.ttft.p90, FIRST + 1 / PACE)
    yield f"{point.by} between tokens", error(point.inter_token.p50, 1 / PACE)
    yield f"{point.by} latency", error(point.latency.mean, FIRST + 15 / PACE)


def test_every_figure_of_an_engine_of_known_pace_is_within_five_percent(cli: Cli, write_job: WriteJob) -> None:
    evaluate = [{"evaluator": "speed", "speed": SPEED}]
    spec = write_job("--latency", str(FIRST), "--tokens-per-second", str(PACE), evaluate=evaluate)
    for _ in range(ATTEMPTS):
        with lateness() as late:
            code, record = cli.job(spec)
        assert (code, record["state"]) == (0, "succeeded"), record["failure"]
        result = SpeedResult.model_validate(record["speed"][0])
        wrong = {name: off for name, off in errors_of(result) if off > MOST}
        if not wrong:
            break
    assert not wrong or late.disturbed
    counted = [(row.prompt_tokens, row.generated, row.counted_by, row.invalid) for row in result.context]
    assert counted == [(1, 20.0, "usage", []), (300, 20.0, "usage", [])]
    assert all(row.memory and row.memory.kind == "resident" and row.memory.bytes > 2**24 for row in result.context)
    [batch] = result.throughput
    assert (batch.prompts, batch.input, batch.output, batch.seed, batch.invalid) == (10, 64, 30.0, 2024, [])
    assert [point.saturated for point in result.load] == [False, False]
    assert (result.asked, result.failed, result.coverage) == (12, 0, 1.0)

    # The same job's other sides: what is asked to be measured is not kept, and a person finds the figures.
    assert record["gateway"]["replayed"] == 0
    assert (Path(record["folder"]) / "journal").stat().st_size == 0
    report = Path(record["report"]).read_text()
    assert "## Speed by context length (memory: resident memory of the process tree)" in report
    assert "| 300 | 20 |" in report
    assert (Path(record["folder"]) / "plots" / "speed-0-context-speed.svg").is_file()
    assert record["teardown"]["clean"]
    if wrong:
        skip_disturbed()


async def test_the_times_to_the_first_token_are_those_that_the_engine_took(tmp_path: Path) -> None:
    async def measured(port: int, timings: Path) -> Mapping[str, float]:
        async with asking(port) as client:
            found = [(await client.stream("a b c", 4)).ttft for _ in range(30)]
        truth = [tokens[0] - arrived for arrived, tokens in left(timings)]
        assert max(truth) > 1.5 * min(truth), "the engine drew different ones"
        return errors("first token", found, truth)

    assert await least_wrong(tmp_path, ("--latency", "0.1", "--latency-sigma", "0.5", "--seed", "3"), measured) == {}


async def test_many_streams_at_once_are_timed_as_exactly_as_one(tmp_path: Path) -> None:
    async def measured(port: int, timings: Path) -> Mapping[str, float]:
        async with asking(port) as client:
            await together(client, 32, 1)  # connects
            found = await together(client, 32, 20)
        assert {timing.failed for timing in found} == {None}
        truth = left(timings)[32:]
        first = errors("first token", [one.ttft for one in found], [tokens[0] - arrived for arrived, tokens in truth])
        return {**first, **errors("gap", [one.inter_token or 0.0 for one in found], list(map(mean_gap, truth)))}

    assert await least_wrong(tmp_path, ("--latency", "0.8", "--tokens-per-second", "20"), measured) == {}


async def least_wrong(
    folder: Path, options: tuple[str, ...], measured: Callable[[int, Path], Awaitable[Mapping[str, float]]]
) -> Mapping[str, float]:
    """What is off from what the engine did; each attempt has an engine of its own."""
    for attempt in range(ATTEMPTS):
        timings = folder / f"timings-{attempt}.jsonl"
        with lateness() as late, fake_engine(folder, *options, "--timings", str(timings)) as port:
            wrong = {name: off for name, off in (await measured(port, timings)).items() if off > MOST}
        if not wrong:
            break
    if wrong and late.disturbed:
        skip_disturbed()
    return wrong


def errors(name: str, found: Sequence[float], truth: Sequence[float]) -> dict[str, float]:
    """In the middle: at the far end the machine's other work is what is measured (`benchmarks/load_tools.py`)."""
    ours, theirs = percentiles(found), percentiles(truth)
    assert ours
    assert theirs
    return {f"{name} p50": error(ours.p50, theirs.p50)}


def left(timings: Path) -> list[tuple[float, list[float]]]:
    """What the engine did: when each request arrived, when its tokens left."""
    rows = map(json.loads, timings.read_text().splitlines())
    return [(row["arrived"], row["tokens"]) for row in rows]


def mean_gap(row: tuple[float, list[float]]) -> float:
    _, tokens = row
    return (tokens[-1] - tokens[0]) / (len(tokens) - 1)


async def together(client: Client, streams: int, output: int) -> list[Timing]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.stream(f"prompt {number}", output)) for number in range(streams)]
    return [task.result() for task in tasks]


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[Client]:
    client = Client("127.0.0.1", port, "fake", lambda tokens: {"ignore_eos": True})
    try:
        yield client
    finally:
        client.close()
        await asyncio.sleep(0)
