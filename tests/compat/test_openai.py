"""The unmodified openai SDK against the gateway."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.marks import is_failure_mark
from orchestrator.fake_engine.answers import made_up, tokens_of
from tests.clients.scripted_engine import until
from tests.compat.support import script, served

pytestmark = pytest.mark.real


async def test_whole_and_streamed_answers_and_log_probabilities_arrive_as_the_engine_gave_them(
    clients_python: Path,
) -> None:
    async with served("--logprobs") as gateway:
        got: dict[str, Any] = await script(clients_python, "openai_answers", gateway.url)
        assert (gateway.ledger.asked, gateway.ledger.failed) == (47, 0)
    sync, answer, text = got["sync"], made_up("question 0"), "".join(tokens_of(made_up("one"))[:5])
    assert sync["models"] == ["fake"]
    assert sync["chat"] == sync["streamed"] == got["async"]["streamed"] == answer
    assert sync["usage"] == sync["streamed_usage"] == 2 + len(tokens_of(answer))
    assert sync["texts"] == [text, "".join(tokens_of(made_up("two"))[:5])]
    assert (sync["finishes"], sync["streamed_text"]) == (["length", "length"], text)
    assert (sync["tokens"], set(sync["tops"])) == (tokens_of(answer), {2})
    assert sync["scored"][:2] == [made_up("one"), tokens_of(made_up("one"))]
    assert all(-0.7 < logprob < 0 for logprob in sync["scored"][2])
    assert got["async"]["answers"] == [made_up(f"question {n}") for n in range(40)]


async def test_the_sdk_leaves_retries_to_the_gateway(clients_python: Path) -> None:
    async with served("--error-rate", "1", attempts=2) as gateway:
        got = await script(clients_python, "openai_failure", gateway.url)
        assert (got["type"], got["status"]) == ("InternalServerError", 500)
        assert (gateway.ledger.asked, gateway.ledger.retried) == (1, 1)
        await script(clients_python, "openai_failure", gateway.engine)  # where nothing tells it not to, it retries
        assert await requests_at(gateway.engine) == 2 + 3


async def test_a_503_reaches_the_user_with_its_reason_and_is_not_retried(clients_python: Path) -> None:
    async with served() as gateway:
        gateway.pool.close("every replica is dead")
        got = await script(clients_python, "openai_failure", gateway.url)
        assert (got["status"], got["body"]["code"]) == (503, "no_replica")
        assert "every replica is dead" in got["body"]["message"]
        assert gateway.ledger.asked == 1


async def test_a_refused_request_is_the_engines_own_error(clients_python: Path) -> None:
    async with served("--model", "another") as gateway:
        got = await script(clients_python, "openai_failure", gateway.url)
        assert (got["type"], got["status"]) == ("NotFoundError", 404)
        assert "another" in got["body"]["message"]
        assert gateway.ledger.failed_by_cause == {"http_404": 1}


async def test_a_stream_that_breaks_is_an_error_not_a_short_answer(clients_python: Path) -> None:
    async with served("--truncate-rate", "1", "--tokens-per-second", "100") as gateway:
        got = await script(clients_python, "openai_stream_failure", gateway.url)
        assert made_up("hello").startswith(got["said"])
        assert got["type"] in ("APIConnectionError", "RemoteProtocolError")
        assert gateway.ledger.failed_by_cause == {"cut": 1}


async def test_a_client_that_gives_up_ends_its_request_at_the_engine(clients_python: Path) -> None:
    async with served("--latency", "60") as gateway:
        waiting = asyncio.create_task(script(clients_python, "openai_timeout", gateway.url))
        await until(lambda: gateway.ledger.in_flight == 1, 30)
        assert await waiting == {"type": "APITimeoutError"}
        await until(lambda: gateway.ledger.failed_by_cause == {"client_gone": 1})
        async with asyncio.timeout(5):
            while await running_at(gateway.engine):  # noqa: ASYNC110 - another process's gauge
                await asyncio.sleep(0.02)


async def test_a_marked_failure_is_an_answer_whose_text_is_the_mark(clients_python: Path) -> None:
    async with served("--error-rate", "1") as gateway:
        got = await script(clients_python, "openai_marked", gateway.url)
        assert [len(got["chat"]), len(got["texts"])] == [2, 2]
        assert all(map(is_failure_mark, [*got["chat"], *got["texts"]]))
        assert set(got["finishes"]) == {"stop"}
        assert (gateway.ledger.asked, gateway.ledger.failed) == (2, 2)


async def requests_at(engine: str) -> int:
    return await _gauge(engine, "fake:requests_total")


async def running_at(engine: str) -> int:
    return await _gauge(engine, "fake:num_requests_running")


async def _gauge(engine: str, name: str) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        found = re.search(rf"^{name}{{.*}} (\d+)$", (await http.get(f"{engine}/metrics")).text, re.MULTILINE)
    assert found
    return int(found[1])
