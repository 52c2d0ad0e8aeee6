from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from clients.errors import EngineUnresponsive, ProbeFailed
from clients.health import watch_replica
from clients.probe import Api, Generation, generate
from clients.replica import Replica
from clients.spec import ProbeSpec
from tests.clients.scripted_engine import (
    Asked,
    Behaviour,
    bytes_then_reset,
    chat,
    chat_body,
    echo_chat,
    engine,
    free_port,
    raw,
    silent,
    until,
)


async def probe(port: int, api: Api = "auto", timeout: float = 5) -> Generation:
    return await generate(f"http://127.0.0.1:{port}", model="m", prompt="2+2=", max_tokens=8, timeout=timeout, api=api)


def only(path: str, body: bytes) -> Behaviour:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (raw(200, body) if asked.path == path else raw(404, b'{"detail":"Not Found"}'))(asked, writer)

    return answer


async def test_a_generation_is_asked_greedily_and_its_answer_told() -> None:
    async with engine(chat("four")) as server:
        generation = await probe(server.port)
    assert (generation.text, generation.finish_reason, generation.api) == ("four", "stop", "chat")
    assert (generation.prompt_tokens, generation.completion_tokens) == (3, 2)
    assert 0 < generation.seconds < 5
    assert server.asked[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "2+2="}],
        "max_tokens": 8,
        "temperature": 0.0,
        "stream": False,
    }


@pytest.mark.parametrize(
    ("path", "body", "api"),
    [
        ("/v1/chat/completions", chat_body("four"), "chat"),
        ("/v1/completions", b'{"choices": [{"text": "four", "finish_reason": "stop"}]}', "completions"),
        ("/generate", b'{"generated_text": ["four"], "finish_reason": "stop"}', "generate"),
    ],
)
async def test_the_api_that_the_server_has_is_found(path: str, body: bytes, api: str) -> None:
    async with engine(only(path, body)) as server:
        generation = await probe(server.port)
    assert (generation.text, generation.finish_reason, generation.api) == ("four", "stop", api)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (raw(500, b"EngineCore encountered an issue"), "HTTP 500: EngineCore encountered an issue"),
        (raw(400, b'{"error": "Server is pinned to"}'), "HTTP 400"),
        (raw(404, b"Not Found"), "HTTP 404"),
        (chat(""), "empty_answer"),
        (raw(200, b"<html>"), "bad_json.*<html>"),
        (bytes_then_reset(b""), "broke off"),
        (silent, "no generation within 0.3 s"),
        (raw(200, b'data: {"choices": []}\n\n'), "a stream although none was asked for"),
    ],
)
async def test_a_probe_that_fails_tells_what_came_back(fault: Behaviour, told: str) -> None:
    async with engine(fault) as server:
        with pytest.raises(ProbeFailed, match=told):
            await probe(server.port, timeout=0.3)


async def test_a_probe_of_nothing_is_a_probe_failed() -> None:
    with pytest.raises(ProbeFailed, match="broke off"):
        await probe(free_port())


def test_the_probe_spec_is_strict_and_told() -> None:
    told = {"prompt": "What is AI?", "max_tokens": 32, "timeout": 300, "interval": 30}
    assert ProbeSpec().model_dump(exclude={"fidelity"}) == told
    assert ProbeSpec(timeout=5).timeout == 5
    for wrong in (
        {"max_token": 1},
        {"max_tokens": "8"},
        {"max_tokens": 0},
        {"timeout": 0},
        {"timeout": "5"},
        {"prompt": ""},
    ):
        with pytest.raises(ValidationError):
            ProbeSpec.model_validate(wrong)
    assert "Seconds" in ProbeSpec.model_json_schema()["properties"]["timeout"]["description"]


async def test_an_idle_engine_that_generates_is_alive() -> None:
    async with engine(chat("hi")) as server:
        replica = Replica("r", "127.0.0.1", server.port)
        watching = asyncio.create_task(watch_replica(replica, lambda: probe(server.port), interval=0.1, timeout=0.3))
        await until(lambda: len(server.asked) >= 5)  # longer than the timeout
        assert not watching.done()
        watching.cancel()
        await asyncio.wait([watching])


async def test_traffic_alone_proves_life_and_spares_the_generation() -> None:
    asked = []

    async def no_generation() -> None:
        asked.append(1)

    async with engine(echo_chat(0.05)) as server:
        replica = Replica("r", "127.0.0.1", server.port)
        watching = asyncio.create_task(watch_replica(replica, no_generation, interval=0.5, timeout=0.5))
        body = b'{"messages": [{"content": "x"}]}'
        for _ in range(15):
            await (await replica.upstream.send("POST", "/", [], body, timeout=5)).read()
        assert not watching.done()
        assert not asked
        watching.cancel()
        await asyncio.wait([watching])
        replica.upstream.close()


async def test_slow_under_load_is_not_dead() -> None:
    """The generation never comes back, but some byte of other answers does now and then."""

    async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
        for _ in range(6):
            writer.write(b"x")
            await asyncio.sleep(0.2)

    async with engine(drip) as server, engine(silent) as busy:
        replica = Replica("r", "127.0.0.1", server.port)
        watching = asyncio.create_task(watch_replica(replica, lambda: probe(busy.port), interval=0.1, timeout=0.5))
        await (await replica.upstream.send("POST", "/", [], b"", timeout=5)).read()
        assert busy.asked
        assert not watching.done()
        with pytest.raises(EngineUnresponsive, match="not a byte"):  # and once nothing comes any more
            await watching
        replica.upstream.close()


@pytest.mark.parametrize("fault", [silent, raw(500, b"boom")], ids=["hangs", "fails"])
async def test_an_engine_that_neither_answers_nor_generates_is_unresponsive(fault: Behaviour) -> None:
    async with engine(fault) as server:
        replica = Replica("r", "127.0.0.1", server.port)
        async with asyncio.timeout(3):
            with pytest.raises(EngineUnresponsive, match=r"not a byte for 0.3 s"):
                await watch_replica(replica, lambda: probe(server.port), interval=0.1, timeout=0.3)
