"""curl against the gateway: keep-alive, streams, large bodies, errors."""

from __future__ import annotations

import shutil

import orjson
import pytest

from orchestrator.fake_engine.answers import made_up
from tests.compat.support import run, served

pytestmark = [pytest.mark.real, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")]
CURL = ("curl", "--silent", "--show-error", "--noproxy", "*", "-H", "content-type: application/json")


def asking(text: str, **more: object) -> bytes:
    return orjson.dumps({"model": "fake", "messages": [{"role": "user", "content": text}], **more})


async def test_an_answer_a_stream_and_a_page_over_one_connection() -> None:
    async with served() as gateway:
        chat, models = f"{gateway.url}/v1/chat/completions", f"{gateway.url}/v1/models"
        counted = ("-w", "\n%{num_connects}\n")
        out = await run(*CURL, *counted, chat, "-d", asking("hi").decode(), "--next", *CURL[1:], *counted, models)
        answer, connects, listed, connects_again = out.splitlines()
        assert orjson.loads(answer)["choices"][0]["message"]["content"] == made_up("hi")
        assert [connects, connects_again] == [b"1", b"0"]
        assert orjson.loads(listed)["data"][0]["id"] == "fake"
        lines = (await run(*CURL, "-N", chat, "-d", asking("hi", stream=True).decode())).split(b"\n\n")
        events = [orjson.loads(line.removeprefix(b"data: ")) for line in lines if line and b"[DONE]" not in line]
        said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        assert (said, lines[-2]) == (made_up("hi"), b"data: [DONE]")


async def test_a_large_body_that_waits_for_100_continue_arrives() -> None:
    text = "word " * 400_000
    async with served() as gateway:
        argv = (*CURL, "-H", "Expect: 100-continue", f"{gateway.url}/v1/chat/completions", "--data-binary", "@-")
        answer = orjson.loads(await run(*argv, stdin=asking(text, max_tokens=1)))
    assert answer["usage"]["prompt_tokens"] == 400_000


async def test_an_error_has_its_status_and_its_envelope() -> None:
    async with served() as gateway:
        argv = (*CURL, "-w", "\n%{http_code}", f"{gateway.url}/v1/completions", "-d")
        body, status = (await run(*argv, '{"prompt": "a", "messages": []}')).splitlines()
        assert (status, orjson.loads(body)["error"]["type"]) == (b"400", "invalid_request_error")
        body, status = (await run(*argv, "{")).splitlines()
        assert (status, "not JSON" in orjson.loads(body)["error"]["message"]) == (b"400", True)
