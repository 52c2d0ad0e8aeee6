from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import orjson
import pytest

from clients.journal import Journal
from clients.records import RequestRecords, RequestRow, write_parquet
from tests.clients.scripted_engine import (
    DONE,
    Asked,
    chat,
    chunked,
    echo_chat,
    engine,
    event,
    in_turn,
    raw,
)
from tests.clients.serving import CHAT_REQUEST, Serve


def rows_of(records: RequestRecords) -> list[dict[str, Any]]:
    records.close()
    return [orjson.loads(line) for line in records.path.read_bytes().splitlines()]


@pytest.fixture
def records(tmp_path: Path) -> RequestRecords:
    return RequestRecords(tmp_path / "requests.jsonl")


async def test_an_answer_a_retry_a_failure_and_a_replay_have_a_row_each(
    serve: Serve, records: RequestRecords, tmp_path: Path
) -> None:
    behaviour = in_turn(chat("hi"), raw(500, b"x"), chat("hi"), raw(400, b"{}"))
    async with engine(behaviour) as server:
        async with (
            Journal(tmp_path / "j", fingerprint="f") as journal,
            serve(server.port, journal=journal, records=records) as served,
        ):
            for seed in (1, 2, 3):
                await served.chat(seed=seed)
        async with (
            Journal(tmp_path / "j", fingerprint="f") as journal,
            serve(server.port, journal=journal, records=records) as served,
        ):
            await served.chat(seed=1)
    plain, retried, failed, replayed = rows_of(records)
    assert set(plain) == set(RequestRow.__annotations__)
    assert [row["attempts"] for row in (plain, retried, failed, replayed)] == [1, 2, 1, 0]
    assert [row["status"] for row in (plain, retried, failed, replayed)] == [200, 200, 400, 200]
    assert [row["cause"] for row in (plain, retried, failed, replayed)] == [None, None, "http_400", None]
    assert [row["replayed"] for row in (plain, retried, failed, replayed)] == [False, False, False, True]
    assert (plain["replica"], plain["prompt_tokens"], plain["completion_tokens"]) == ("r0", 3, 2)
    assert (plain["key"], plain["path"]) == (replayed["key"], "/v1/chat/completions")
    assert 0 < plain["first_byte"] <= plain["total"] < 5
    assert (plain["streaming"], plain["first_token"], plain["inter_token_max"]) == (False, None, None)
    assert failed["prompt_tokens"] is None


async def test_a_stream_has_the_times_of_its_tokens(serve: Serve, records: RequestRecords) -> None:
    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        gate = asyncio.Semaphore(2)
        pieces = [event(""), event("a"), event("b"), event("c"), event(None, "stop"), DONE]
        answering = asyncio.ensure_future(chunked(pieces, "text/event-stream", gate)(asked, writer))
        for pause in (0.02, 0.2, 0.02, 0.02):
            await asyncio.sleep(pause)
            gate.release()
        await answering

    async with engine(slow) as server, serve(server.port, records=records) as served:
        await served.http.post("/v1/chat/completions", json={**CHAT_REQUEST, "stream": True})
    (row,) = rows_of(records)
    assert row["streaming"]
    assert row["first_byte"] <= row["first_token"] < row["total"]
    assert row["inter_token_p50"] < 0.2 <= row["inter_token_p99"] == row["inter_token_max"] < row["total"]


async def test_waiting_for_a_replica_is_told_apart(serve: Serve, records: RequestRecords) -> None:
    async with engine(echo_chat()) as server, serve(server.port, records=records, ready=False) as served:
        asked = asyncio.create_task(served.chat())
        while not served.pool.waiting:  # noqa: ASYNC110 - bounded by the client's time limit
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        served.pool.mark_ready(served.replicas[0])
        await asked
    (row,) = rows_of(records)
    assert 0.1 <= row["queue_wait"] <= row["total"]


async def test_rows_leave_memory_in_batches_and_the_rest_when_closed(serve: Serve, records: RequestRecords) -> None:
    async with engine(echo_chat()) as server, serve(server.port, records=records) as served:
        for start in range(0, 300, 50):
            await asyncio.gather(*(served.chat(seed=seed) for seed in range(start, start + 50)))
        assert records.path.read_bytes().count(b"\n") == 256
    assert len(rows_of(records)) == records.written == 300


async def test_a_full_disk_costs_rows_and_no_answer(serve: Serve, records: RequestRecords) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with engine(echo_chat()) as server, serve(server.port, records=records) as served:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            answers = [(await served.chat(seed=seed)).status_code for seed in range(130)]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert answers == [200] * 130
    assert (records.written, records.lost) == (130, 128)
    records.close()


async def test_the_rows_become_parquet_where_pyarrow_is_installed(
    serve: Serve, records: RequestRecords, tmp_path: Path
) -> None:
    async with engine(in_turn(chat("hi"), raw(400, b"{}"))) as server, serve(server.port, records=records) as served:
        await served.chat()
        await served.chat()
    rows = rows_of(records)
    parquet = tmp_path / "requests.parquet"
    written = write_parquet(records.path, parquet)
    assert written == parquet.exists()
    if not written:
        pytest.skip("pyarrow is not installed: the rows stay JSON lines, as this test has seen")
    table = pytest.importorskip("pyarrow.parquet").read_table(parquet)
    assert table.to_pylist() == rows
