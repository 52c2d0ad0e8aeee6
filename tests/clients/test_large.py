"""Answers and requests of many megabytes: judged, journaled and passed on in little memory."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
import tracemalloc
from pathlib import Path

import httpx
import orjson
import pytest

from clients.answers import CHAT
from clients.journal import Journal
from clients.large import LargeJudge
from clients.spool import FOLDER
from tests.clients.scripted_engine import (
    DONE,
    Asked,
    Behaviour,
    chat,
    chat_body,
    chunked,
    engine,
    event,
    in_turn,
    raw,
    until,
)
from tests.clients.serving import CHAT_REQUEST, Serve, Served

MEGABYTE = 1 << 20
USAGE = b'],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def large_pieces(megabytes: int, finish: str = "stop") -> list[bytes]:
    """A JSON answer of so many MB in pieces that are all the same object: it takes no memory by itself."""
    start = b'{"choices":[{"index":0,"finish_reason":"%b","message":{"content":"' % finish.encode()
    piece = rb"all \"quotes\" and \\ {brackets] in texts are text. " * 1300
    return [start, *([piece] * (megabytes * MEGABYTE // len(piece))), b'"}}', USAGE]


def body_of(pieces: list[bytes]) -> bytes:
    return b"".join(pieces)


async def ask(served: Served, **more: object) -> tuple[int, int, str]:
    """Status, length and digest of an answer, read a piece at a time."""
    digest, size = hashlib.sha256(), 0
    async with served.http.stream("POST", CHAT, json={**CHAT_REQUEST, **more}) as answer:
        async for data in answer.aiter_raw():
            digest.update(data)
            size += len(data)
    return answer.status_code, size, digest.hexdigest()


def kept(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*"))


async def test_a_large_answer_passes_byte_for_byte_in_bounded_memory(serve: Serve, tmp_path: Path) -> None:
    pieces = large_pieces(100)
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    async with (
        engine(chunked(pieces)) as server,
        Journal(tmp_path / "answers.jsonl", fingerprint="f") as journal,
        serve(server.port, journal=journal) as served,
    ):
        tracemalloc.start()
        status, size, seen = await ask(served)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (status, size, seen) == (200, sum(map(len, pieces)), digest.hexdigest())
    assert peak < 30 * MEGABYTE, "the engine's, the gateway's and the client's together"
    assert (served.ledger.prompt_tokens, served.ledger.completion_tokens) == (3, 2)
    assert [path.stat().st_size for path in kept(tmp_path)] == [size]


async def test_a_resumed_job_replays_a_large_answer_from_its_file(serve: Serve, tmp_path: Path) -> None:
    pieces = large_pieces(9)
    path = tmp_path / "answers.jsonl"
    async with engine(chunked(pieces)) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            first = await ask(served)
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            assert await ask(served) == first
        assert served.ledger.replayed == 1
        assert (served.ledger.prompt_tokens, served.ledger.completion_tokens) == (3, 2)
    assert len(server.asked) == 1


@pytest.mark.parametrize("damage", ["gone", "changed"])
async def test_a_large_answer_whose_file_is_not_as_it_was_is_asked_again(
    serve: Serve, tmp_path: Path, damage: str
) -> None:
    pieces = large_pieces(5)
    path = tmp_path / "answers.jsonl"
    async with engine(chunked(pieces)) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            first = await ask(served)
        [file] = kept(tmp_path)
        if damage == "gone":
            file.unlink()
        else:
            with file.open("r+b") as opened:
                opened.seek(MEGABYTE)
                opened.write(b"?")
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            assert await ask(served) == first
    assert len(server.asked) == 2


async def test_a_large_stream_is_journaled_in_a_file_and_replayed(serve: Serve, tmp_path: Path) -> None:
    pieces = [event("x" * 100_000)] * 60 + [event(finish="stop"), DONE]
    path = tmp_path / "answers.jsonl"
    async with engine(chunked(pieces, "text/event-stream")) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            first = await ask(served, stream=True)
        assert [file.stat().st_size for file in kept(tmp_path)] == [sum(map(len, pieces))]
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            assert await ask(served, stream=True) == first
    assert first[1] == sum(map(len, pieces))
    assert len(server.asked) == 1


async def test_without_a_journal_a_large_answer_leaves_no_file(serve: Serve, tmp_path: Path) -> None:
    pieces = large_pieces(6)
    async with engine(chunked(pieces)) as server, serve(server.port) as served:
        assert (await ask(served))[1] == sum(map(len, pieces))
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("pieces", "cause"),
    [(large_pieces(5)[:-1], "bad_json"), (large_pieces(5, finish="error"), "finish_reason_error")],
)
async def test_a_large_answer_that_is_none_is_asked_again_and_leaves_no_file(
    serve: Serve, tmp_path: Path, pieces: list[bytes], cause: str
) -> None:
    async with (
        engine(in_turn(chunked(pieces), chat("hi"))) as server,
        Journal(tmp_path / "answers.jsonl", fingerprint="f") as journal,
        serve(server.port, journal=journal) as served,
    ):
        assert (await served.chat()).content == chat_body("hi")
        assert served.ledger.retried_by_cause == {cause: 1}
    assert kept(tmp_path) == []


async def test_a_large_answer_that_is_cut_is_asked_again(serve: Serve, tmp_path: Path) -> None:
    async def cut(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (9 * MEGABYTE) + b"{" + b" " * (6 * MEGABYTE))
        await writer.drain()
        writer.close()

    async with (
        engine(in_turn(cut, chat("hi"))) as server,
        Journal(tmp_path / "answers.jsonl", fingerprint="f") as journal,
        serve(server.port, journal=journal) as served,
    ):
        assert (await served.chat()).content == chat_body("hi")
        assert served.ledger.retried_by_cause == {"cut": 1}
    assert kept(tmp_path) == []


async def test_a_large_error_keeps_its_status(serve: Serve) -> None:
    error = b'{"error":{"message":"%b"}}' % (b"no " * 2 * MEGABYTE)
    async with engine(raw(400, error)) as server, serve(server.port) as served:
        answer = await served.chat()
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith('{"error":{"message":"no no')
    assert len(server.asked) == 1


async def test_what_a_crash_left_half_written_is_removed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "tmpabc.part").write_bytes(b"half")
    async with (
        engine(chat("hi")) as server,
        Journal(tmp_path / "answers.jsonl", fingerprint="f") as journal,
        serve(server.port, journal=journal) as served,
    ):
        assert (await served.chat()).status_code == 200
    assert kept(tmp_path) == []


async def test_a_request_of_a_megabyte_reaches_the_engine_whole(serve: Serve) -> None:
    prompt = "all of it " * (MEGABYTE // 10)
    async with engine(chat("hi")) as server, serve(server.port) as served:
        answers = await asyncio.gather(
            *(served.chat(messages=[{"role": "user", "content": f"{n}{prompt}"}]) for n in range(8))
        )
    assert [answer.status_code for answer in answers] == [200] * 8
    assert sorted(one.json["messages"][0]["content"] for one in server.asked) == [f"{n}{prompt}" for n in range(8)]


def endless(sent: list[float], *, head: bytes, piece: bytes) -> Behaviour:
    """Sends as fast as it may, for ever; `sent` gets the time of each piece."""

    async def answer(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in itertools.count():
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            sent.append(time.monotonic())

    return answer


async def test_a_client_that_reads_slowly_slows_the_engine_down(serve: Serve) -> None:
    sent: list[float] = []
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    piece = event("x" * 100_000)
    async with engine(endless(sent, head=head, piece=piece)) as server, serve(server.port) as served:
        body = orjson.dumps({**CHAT_REQUEST, "stream": True})
        url = httpx.URL(served.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body)
        await until(lambda: sent and time.monotonic() - sent[-1] > 0.5, 20)
        assert len(sent) * len(piece) < 40 * MEGABYTE
        writer.transport.abort()
        await until(lambda: served.ledger.failed_by_cause["client_gone"] == 1)
        await until(lambda: served.replicas[0].upstream.connections == 0)


def judged(body: bytes, step: int) -> str | None:
    one = LargeJudge()
    for start in range(0, len(body), step):
        one.add(body[start : start + step])
    return one.verdict().cause


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (orjson.dumps({"choices": [{"text": 'a "quote", a \\ and } ] [ {'}]}), None),
        (orjson.dumps({"choices": [{"text": "ends in a backslash \\"}], "error": None}), None),
        (b' \n{"error":null,"choices":[]} \n', None),
        (orjson.dumps({"choices": [{"text": '"finish_reason":"error"', "finish_reason": "stop"}]}), None),
        (b'{"choices":[{"finish_reason" : "abort"}]}', "finish_reason_error"),
        (b'{"error":{"message":"no"}}', "error_body"),
        (b'{"choices":[{"text":"half', "bad_json"),
        (b'{"choices":[{"text":"}"}]', "bad_json"),
        (b'{"choices":[{"text":"\\"}]}', "bad_json"),
        (b"[1,2]", "bad_json"),
        (b"<html></html>", "bad_json"),
        (b"", "bad_json"),
    ],
)
def test_a_large_answer_is_judged_however_it_is_cut(body: bytes, cause: str | None, step: int) -> None:
    assert judged(body, step) == cause
