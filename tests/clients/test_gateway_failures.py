from __future__ import annotations

import asyncio

import httpx
import pytest

from clients.marks import FAILURE_MARK_PREFIX, failure_id_of, is_failure_mark
from tests.clients.scripted_engine import (
    DONE,
    Behaviour,
    bytes_then_reset,
    chat,
    chunked,
    echo_chat,
    engine,
    event,
    free_port,
    in_turn,
    raw,
    silent,
    until,
)
from tests.clients.serving import CHAT_REQUEST, Serve

ERROR_500 = raw(500, b'{"error": {"message": "EngineCore encountered an issue"}}')
HALF_JSON = raw(200, b'{"choices": [{"message": {"content": "ha')
HALF_BODY = bytes_then_reset(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")

FAULTS = [
    ("http_500", ERROR_500),
    ("http_503", raw(503, b"busy")),
    ("http_429", raw(429, b"slow down")),
    ("http_417", raw(417, b'{"error": "exception"}')),
    ("bad_json", HALF_JSON),
    ("cut", HALF_BODY),
    ("reset", bytes_then_reset(b"")),
    ("empty_answer", chat("")),
    ("empty_answer", chat(None)),
    ("empty_answer", raw(200, b"")),
    ("error_body", raw(200, b'{"error": {"message": "Internal server error"}}')),
    ("finish_reason_error", chat("hi", finish_reason="error")),
]


@pytest.mark.parametrize(("cause", "fault"), FAULTS, ids=[f"{n}-{cause}" for n, (cause, _) in enumerate(FAULTS)])
async def test_a_failed_attempt_is_repeated_and_the_client_sees_only_the_answer(
    serve: Serve, cause: str, fault: Behaviour
) -> None:
    async with engine(in_turn(fault, chat("hi"))) as server, serve(server.port) as served:
        answer = await served.chat()
    assert answer.json()["choices"][0]["message"]["content"] == "hi"
    assert len(server.asked) == 2
    assert (served.ledger.answered, served.ledger.failed) == (1, 0)
    assert served.ledger.retried_by_cause == {cause: 1}


async def test_the_second_attempt_goes_to_another_replica(serve: Serve) -> None:
    async with engine(ERROR_500) as bad, engine(chat("hi")) as good, serve(bad.port, good.port) as served:
        answers = [await served.chat() for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(good.asked) == 6
    assert served.ledger.retried == len(bad.asked) > 0


async def test_a_replica_marked_dead_gives_its_requests_to_others(serve: Serve) -> None:
    async with engine(silent) as hung, engine(echo_chat()) as good, serve(hung.port, good.port) as served:
        served.pool.mark_unhealthy(served.replicas[1], "not yet")
        asking = [asyncio.create_task(served.chat()) for _ in range(8)]
        await until(lambda: len(hung.asked) == 8)
        served.pool.mark_ready(served.replicas[1])
        served.pool.mark_dead(served.replicas[0], "it hangs")
        assert [(await one).status_code for one in asking] == [200] * 8
        assert served.ledger.retried_by_cause == {"reset": 8}


async def test_attempts_are_limited_and_the_engines_own_error_is_passed_on(serve: Serve) -> None:
    async with engine(ERROR_500) as server, serve(server.port) as served:
        answer = await served.chat()
    assert len(server.asked) == 3
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "EngineCore encountered an issue")
    assert answer.headers["x-should-retry"] == "false"
    (failure,) = served.ledger.failures
    assert (failure.cause, failure.status, failure.replica, failure.attempts) == ("http_500", 500, "r0", 3)
    assert "EngineCore" in failure.message


async def test_a_request_that_the_engine_refuses_is_not_repeated(serve: Serve) -> None:
    refusal = b'{"object":"error","message":"This model\'s maximum context length is 8"}'
    async with engine(raw(400, refusal)) as server, serve(server.port) as served:
        answer = await served.chat()
    assert (answer.status_code, answer.content, len(server.asked)) == (400, refusal, 1)
    assert served.ledger.failed_by_cause == {"http_400": 1}


@pytest.mark.parametrize(
    ("fault", "cause", "status"),
    [(chat(""), "empty_answer", 502), (HALF_BODY, "cut", 502), (silent, "timeout", 504)],
)
async def test_without_an_error_of_the_engine_the_client_gets_ours(
    serve: Serve, fault: Behaviour, cause: str, status: int
) -> None:
    async with engine(fault) as server, serve(server.port, timeout=0.3) as served:
        answer = await served.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, cause)
    assert served.ledger.failed_by_cause == {cause: 1}


async def test_a_connection_refused_is_named(serve: Serve) -> None:
    async with serve(free_port()) as served:
        answer = await served.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "refused")
    assert served.ledger.retried_by_cause == {"refused": 2}


async def test_a_timeout_is_repeated_only_on_another_replica(serve: Serve) -> None:
    async with engine(silent) as hung, engine(chat("hi")) as good:
        async with serve(hung.port, good.port, timeout=0.3) as served:
            assert (await served.chat()).status_code == 200
            assert served.ledger.retried_by_cause == {"timeout": 1}
        async with serve(hung.port, timeout=0.3) as served:
            assert (await served.chat()).status_code == 504
            assert len(hung.asked) == 2


async def test_a_failure_is_marked_where_the_client_asks_for_it(serve: Serve) -> None:
    async with engine(ERROR_500) as server, serve(server.port, attempts=1) as served:
        answer = await served.marked(n=2)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["model"]) == ("chat.completion", "m")
    (failure,) = served.ledger.failures
    for choice in body["choices"]:
        text = choice["message"]["content"]
        assert (choice["finish_reason"], text) == ("stop", f"{FAILURE_MARK_PREFIX}{failure.id}]]")
        assert is_failure_mark(text)
        assert failure_id_of(f"<think>{text}") == failure.id
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert not is_failure_mark("[[request-failed: is what I would say")


@pytest.mark.parametrize("fault", [raw(400, b"{}"), chat(""), bytes_then_reset(b"")])
async def test_every_kind_of_failure_is_marked(serve: Serve, fault: Behaviour) -> None:
    async with engine(fault) as server, serve(server.port, attempts=1) as served:
        marked = {"x-orchestrator-on-failure": "mark"}
        body = {"model": "m", "prompt": ["a", "b"]}
        completions = await served.http.post("/v1/completions", json=body, headers=marked)
        generate = await served.http.post("/generate", json={"inputs": "a"}, headers=marked)
        served.pool.close("gone")
        late = await served.marked()
    assert [is_failure_mark(choice["text"]) for choice in completions.json()["choices"]] == [True, True]
    assert [is_failure_mark(text) for text in generate.json()["generated_text"]] == [True]
    assert is_failure_mark(late.json()["choices"][0]["message"]["content"])
    assert served.ledger.failed == 3


async def test_the_mark_header_does_not_reach_the_engine(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port) as served:
        assert (await served.marked()).json()["choices"][0]["message"]["content"] == "hi"
    assert "x-orchestrator-on-failure" not in server.asked[0].headers


async def stream(http: httpx.AsyncClient, gate: asyncio.Semaphore | None = None) -> bytes:
    """What comes of a stream; with a gate the engine may send the next piece only when the last has come."""
    body = {**CHAT_REQUEST, "stream": True}
    got = b""
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            return await answer.aread()
        async for piece in answer.aiter_raw():
            got += piece
            if gate is not None:
                gate.release()
    return got


def sse(*events: bytes, gate: asyncio.Semaphore | None = None) -> Behaviour:
    return chunked(list(events), "text/event-stream", gate)


@pytest.mark.parametrize(
    ("cause", "events"),
    [
        ("cut", [event("half an ans")]),
        ("empty_answer", [event(""), event(None, "stop"), DONE]),
        ("error_body", [event("so"), b'data: {"error": {"message": "boom"}}\n\n', DONE]),
    ],
)
async def test_a_stream_that_fails_midway_is_cut_for_the_client_too(
    serve: Serve, cause: str, events: list[bytes]
) -> None:
    gate = asyncio.Semaphore(1)
    async with engine(sse(*events, gate=gate)) as server, serve(server.port) as served:
        with pytest.raises(httpx.RemoteProtocolError):
            await stream(served.http, gate)
    assert len(server.asked) == 1
    assert served.ledger.failed_by_cause == {cause: 1}


async def test_a_stream_of_which_nothing_was_passed_on_is_repeated(serve: Serve) -> None:
    empty, good = event(None, "stop") + DONE, event("hi", "stop") + DONE
    async with engine(in_turn(sse(empty), sse(good))) as server, serve(server.port) as served:
        assert await stream(served.http) == good
    assert served.ledger.retried_by_cause == {"empty_answer": 1}


async def test_a_stream_whose_connection_breaks_is_cut_for_the_client_too(serve: Serve) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    half += b"%x\r\n%b\r\n" % (len(event("half")), event("half"))
    async with engine(bytes_then_reset(half)) as server, serve(server.port) as served:
        with pytest.raises(httpx.RemoteProtocolError):
            await stream(served.http)
    assert served.ledger.failed_by_cause == {"cut": 1}


async def test_a_stream_that_fails_before_its_first_byte_is_repeated(serve: Serve) -> None:
    good = [event("hi"), event(None, "stop"), DONE]
    async with engine(in_turn(ERROR_500, bytes_then_reset(b""), sse(*good))) as server, serve(server.port) as served:
        assert await stream(served.http) == b"".join(good)
    assert served.ledger.answered == 1


async def test_a_client_that_leaves_a_stream_cancels_it(serve: Serve) -> None:
    gate = asyncio.Semaphore(1)
    async with (
        engine(chunked([event("one"), event("two")], "text/event-stream", gate)) as server,
        serve(server.port) as served,
    ):
        async with served.http.stream("POST", "/v1/chat/completions", json={**CHAT_REQUEST, "stream": True}) as answer:
            await anext(answer.aiter_raw())
        await until(lambda: server.dropped == 1)
        await until(lambda: served.ledger.failed_by_cause == {"client_gone": 1})


async def test_the_books_balance_over_a_mixed_crowd(serve: Serve) -> None:
    faults = [chat("hi"), ERROR_500, chat("hi"), chat(""), HALF_BODY, chat("hi"), raw(400, b"{}")]
    turn = iter(range(10_000))

    async def behave(asked: object, writer: asyncio.StreamWriter) -> None:
        await faults[next(turn) % len(faults)](asked, writer)  # type: ignore[arg-type]

    async with engine(behave) as one, engine(behave) as two, serve(one.port, two.port) as served:
        answers = await asyncio.gather(*(served.chat(seed=n) for n in range(150)))
        ledger = served.ledger
        good = sum(answer.status_code == 200 for answer in answers)
        assert (ledger.asked, ledger.answered, ledger.failed) == (150, good, 150 - good)
        assert good > 75
        assert sum(ledger.failed_by_cause.values()) == ledger.failed == len(ledger.failures)
        assert len(one.asked) + len(two.asked) == 150 + ledger.retried
        assert len({failure.id for failure in ledger.failures}) == ledger.failed
