from __future__ import annotations

import asyncio

import orjson
import pytest

from clients.gateway import Gateway
from clients.ledger import Ledger
from clients.pool import Pool
from tests.clients.scripted_engine import (
    DONE,
    Asked,
    chat,
    chat_body,
    chunked,
    echo_chat,
    engine,
    event,
    raw,
    silent,
    until,
)
from tests.clients.serving import CHAT_REQUEST, Serve

ODD_BODY = b'{ "model":"m",\n "messages" : [{"role":"user","content":"\\u00e9 \xc3\xa9"}], "temperature":1e0 }'


async def test_bodies_pass_byte_for_byte_both_ways(serve: Serve) -> None:
    odd_answer = b'\n{"choices": [ {"message" :{"content":"\\u00e9"},"finish_reason":"stop"}], "x":1.0e0}\n'
    async with engine(raw(200, odd_answer, extra="x-engine: yes\r\n")) as server, serve(server.port) as served:
        headers = {"content-type": "application/json", "x-mine": "1"}
        answer = await served.http.post("/v1/chat/completions?a=b%20c", content=ODD_BODY, headers=headers)
    assert (answer.status_code, answer.content, answer.headers["x-engine"]) == (200, odd_answer, "yes")
    (asked,) = server.asked
    assert (asked.path, asked.body, asked.headers["x-mine"]) == ("/v1/chat/completions?a=b%20c", ODD_BODY, "1")


async def test_bodies_of_a_megabyte_pass_both_ways(serve: Serve) -> None:
    text = "0123456789abcdef" * 65536
    async with engine(echo_chat()) as server, serve(server.port) as served:
        answer = await served.chat(messages=[{"role": "user", "content": text}])
    assert answer.json()["choices"][0]["message"]["content"] == "said: " + text


async def test_hop_by_hop_headers_and_the_clients_key_do_not_reach_the_engine(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port, api_key="engine-key") as served:
        await served.chat(headers={"authorization": "Bearer evaluator", "te": "trailers", "x-kept": "1"})
    headers = server.asked[0].headers
    assert headers["authorization"] == "Bearer engine-key"
    assert headers["x-kept"] == "1"
    assert not {"te", "connection", "accept-encoding"} & headers.keys()
    assert headers["host"] == f"127.0.0.1:{server.port}"


async def test_without_a_key_of_the_engine_no_key_is_sent(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port) as served:
        await served.chat(headers={"authorization": "Bearer evaluator"})
    assert "authorization" not in server.asked[0].headers


async def test_a_stream_is_passed_on_piece_by_piece(serve: Serve) -> None:
    gate = asyncio.Semaphore(0)
    events = [event(""), event("one"), event("two"), event(None, "stop"), DONE]
    got = []
    async with engine(chunked(events, "text/event-stream", gate)) as server, serve(server.port) as served:
        gate.release()
        async with served.http.stream("POST", "/v1/chat/completions", json={**CHAT_REQUEST, "stream": True}) as answer:
            async for piece in answer.aiter_raw():
                got.append(piece)  # each comes before the engine may send the next
                gate.release()
                if len(got) == len(events) - 1:
                    gate.release()
    assert got == events
    assert served.ledger.answered == 1


async def test_the_model_name_is_replaced_only_where_the_engine_expects_another(serve: Serve) -> None:
    async with engine(chat("hi")) as server:
        async with serve(server.port, model="/models/m") as served:
            answer = await served.chat()
            assert served.ledger.rules_applied == {"model_name": 1}
        async with serve(server.port, model="m") as served:
            await served.http.post("/v1/chat/completions", content=ODD_BODY)
            assert not served.ledger.rules_applied
    assert answer.content == chat_body("hi")
    assert server.asked[0].json == {**CHAT_REQUEST, "model": "/models/m"}
    assert server.asked[1].body == ODD_BODY


async def test_requests_are_held_until_a_replica_is_ready(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port, ready=False) as served:
        asking = [asyncio.create_task(served.chat()) for _ in range(3)]
        await until(lambda: served.pool.waiting == 3)
        assert (await served.http.get("/health")).status_code == 503
        assert not server.asked
        served.pool.mark_ready(served.replicas[0])
        assert [(await one).status_code for one in asking] == [200] * 3
        assert (await served.http.get("/health")).status_code == 200
        assert served.ledger.held.count == 3
        assert served.ledger.held.longest > 0


async def test_closing_the_pool_frees_who_waits_and_who_comes(serve: Serve) -> None:
    async with serve(1, ready=False) as served:
        asking = [asyncio.create_task(served.chat()) for _ in range(3)]
        await until(lambda: served.pool.waiting == 3)
        served.pool.close("the engine exited")
        answers = [await one for one in asking] + [await served.chat()]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "no_replica"
            assert "the engine exited" in answer.json()["error"]["message"]
        assert served.ledger.failed_by_cause == {"no_replica": 4}


async def test_requests_go_to_the_replica_with_the_fewest_in_flight(serve: Serve) -> None:
    async with engine(echo_chat(0.2)) as one, engine(echo_chat(0.2)) as two, serve(one.port, two.port) as served:
        answers = await asyncio.gather(*(served.chat() for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert (len(one.asked), len(two.asked)) == (5, 5)


async def test_a_client_that_leaves_cancels_the_engines_work(serve: Serve) -> None:
    async with engine(silent) as server, serve(server.port) as served:
        asking = asyncio.create_task(served.chat())
        await until(lambda: server.asked)
        asking.cancel()
        await until(lambda: server.dropped == 1)
        await until(lambda: served.ledger.failed_by_cause == {"client_gone": 1})
        assert served.replicas[0].in_flight == 0


async def test_a_client_that_leaves_while_held_is_forgotten(serve: Serve) -> None:
    async with serve(1, ready=False) as served:
        asking = asyncio.create_task(served.chat())
        await until(lambda: served.pool.waiting == 1)
        asking.cancel()
        await until(lambda: served.pool.waiting == 0)
        assert served.ledger.failed_by_cause == {"client_gone": 1}


async def test_leaving_the_block_ends_requests_in_flight_with_an_error(serve: Serve) -> None:
    ledger, pool = Ledger(), Pool()
    async with asyncio.TaskGroup() as tasks, engine(silent) as server, serve(server.port) as served:
        asking = tasks.create_task(served.chat())
        await until(lambda: server.asked)
        assert served.ledger.in_flight == 1
        gateway = Gateway(pool, ledger, None, served_model="m", request_timeout=5)
        async with gateway.serving("127.0.0.1", 0) as url:
            held = tasks.create_task(served.http.post(url + "/generate", json={}))
            await until(lambda: pool.waiting == 1)
        answer = await held
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway_stopped")
        assert ledger.failed_by_cause == {"gateway_stopped": 1}
        asking.cancel()


async def test_a_port_that_is_taken_is_an_error_of_the_caller(serve: Serve) -> None:
    async with engine(silent) as server:
        gateway = Gateway(Pool(), Ledger(), None, served_model="m", request_timeout=5)
        with pytest.raises(OSError, match="in use"):
            async with gateway.serving("127.0.0.1", server.port):
                pass


async def test_its_own_routes(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port) as served:
        await served.chat()
        models = (await served.http.get("/v1/models")).json()
        replicas = (await served.http.get("/replicas")).json()
        metrics = (await served.http.get("/metrics")).text
        missing = await served.http.get("/nothing")
        wrong = await served.http.get("/v1/chat/completions")
        wrong_too = await served.http.post("/v1/models")
    assert [model["id"] for model in models["data"]] == ["m"]
    assert [(r["name"], r["state"], r["served"], r["in_flight"]) for r in replicas["replicas"]] == [
        ("r0", "ready", 1, 0)
    ]
    assert replicas["replicas"][0]["quiet_seconds"] < 5
    assert 'gateway_requests_total{event="answered"} 1' in metrics
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "http_404")
    assert (wrong.status_code, wrong_too.status_code) == (405, 405)


async def test_the_ledger_counts_tokens_and_times(serve: Serve) -> None:
    async with engine(chat("hi")) as server, serve(server.port) as served:
        for _ in range(3):
            await served.chat()
        snapshot = served.ledger.snapshot()
    orjson.dumps(snapshot)
    assert (snapshot["asked"], snapshot["answered"], snapshot["failed"]) == (3, 3, 0)
    assert (snapshot["prompt_tokens"], snapshot["completion_tokens"]) == (9, 6)
    assert snapshot["latency"]["count"] == 3
    assert 0 < snapshot["latency"]["longest"] <= snapshot["latency"]["total"] < 5
    assert snapshot["first_answer"] <= snapshot["last_answer"]


async def test_a_body_that_is_not_json_is_left_to_the_engine(serve: Serve) -> None:
    async def refuse(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await raw(400, b'{"error": "not JSON: ' + asked.body + b'"}')(asked, writer)

    async with engine(refuse) as server, serve(server.port) as served:
        answer = await served.http.post("/v1/completions", content=b"what?")
    assert (answer.status_code, answer.content) == (400, b'{"error": "not JSON: what?"}')
