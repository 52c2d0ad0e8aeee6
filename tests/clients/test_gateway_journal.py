from __future__ import annotations

from pathlib import Path

from clients.journal import Journal
from clients.journal_format import read_records
from tests.clients.scripted_engine import DONE, chat, chat_body, chunked, echo_chat, engine, event, in_turn, raw
from tests.clients.serving import CHAT_REQUEST, Serve


async def test_a_second_run_is_answered_from_the_journal_without_the_engine(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with engine(echo_chat()) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            first = [(await served.chat(seed=n)).content for n in range(5)]
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            second = [(await served.chat(seed=n)) for n in range(5)]
            assert (served.ledger.answered, served.ledger.replayed) == (5, 5)
            assert served.ledger.prompt_tokens == 15
    assert [answer.content for answer in second] == first
    assert second[0].headers["content-type"] == "application/json"
    assert len(server.asked) == 5


async def test_the_same_request_written_differently_is_the_same(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    bodies = [b'{"prompt": "2+2=", "model": "m"}', b'{"model":"m","prompt":"2+2="}', b'{"model":"m","prompt":"2+2"}']
    async with engine(raw(200, b'{"choices":[{"text":"4"}]}')) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            await served.http.post("/v1/completions", content=bodies[0])
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            await served.http.post("/v1/completions", content=bodies[1])
            assert len(server.asked) == 1
            await served.http.post("/v1/completions", content=bodies[2])
            assert len(server.asked) == 2


async def test_samples_of_one_prompt_stay_distinct_when_replayed(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with engine(in_turn(chat("one"), chat("two"), chat("three"))) as server:
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            assert [(await served.chat()).content for _ in range(2)] == [chat_body("one"), chat_body("two")]
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            answers = [(await served.chat()).content for _ in range(3)]
            assert answers == [chat_body("one"), chat_body("two"), chat_body("three")]
            assert served.ledger.replayed == 2


async def test_a_failure_is_never_journaled(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with engine(in_turn(chat(""), raw(500, b"x"), raw(400, b"x"), chat("hi"))) as server:
        async with (
            Journal(path, fingerprint="f") as journal,
            serve(server.port, journal=journal, attempts=1) as served,
        ):
            assert [(await served.chat()).status_code for _ in range(2)] == [502, 500]
            assert (await served.marked()).status_code == 200
        assert path.read_bytes() == b""
        async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
            assert (await served.chat()).content == chat_body("hi")
            assert served.ledger.replayed == 0


async def test_a_stream_is_replayed_as_it_was(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    events = [event("a"), event("b"), event(None, "stop"), DONE]
    got = []
    async with engine(chunked(events, "text/event-stream")) as server:
        for _ in range(2):
            async with Journal(path, fingerprint="f") as journal, serve(server.port, journal=journal) as served:
                answer = await served.http.post("/v1/chat/completions", json={**CHAT_REQUEST, "stream": True})
                got.append((answer.status_code, answer.headers["content-type"], answer.content))
    assert got == [(200, "text/event-stream", b"".join(events))] * 2
    assert len(server.asked) == 1


async def test_an_answer_is_on_the_disk_when_the_client_has_it(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with (
        engine(chat("hi")) as server,
        Journal(path, fingerprint="f") as journal,
        serve(server.port, journal=journal) as served,
    ):
        for n in range(1, 4):
            await served.chat()
            assert (len(list(read_records(path))), journal.syncs) == (n, n)
