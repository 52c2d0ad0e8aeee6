"""The rules on the wire, as a client sees them; `wire` is what it gets, `asked` what the engine got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from clients.journal import Journal
from clients.journal_format import read_records
from clients.rules import request_rules
from tests.clients.scripted_engine import DONE, Behaviour, chat, chat_body, chunked, engine, event, in_turn, raw
from tests.clients.serving import CHAT_REQUEST, RULE_SPECS, Served, serve_pool

COMPLETION = {"model": "m", "prompt": "2+2=", "max_tokens": 4}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def rule(name: str, **options: Any) -> dict[str, Any]:
    return {"rule": name, **options}


def stream(*events: bytes) -> Behaviour:
    return chunked([*events, DONE], "text/event-stream")


async def streamed(served: Served, path: str = "/v1/chat/completions", **request: Any) -> list[dict[str, Any]]:
    """The events of a stream, which must end with [DONE]."""
    body = {**(CHAT_REQUEST if "chat" in path else COMPLETION), "stream": True, **request}
    lines = (await served.http.post(path, json=body)).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    return [orjson.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def said(events: list[dict[str, Any]], name: str = "content") -> str:
    return "".join(choice["delta"].get(name) or "" for one in events for choice in one["choices"])


def finishes(events: list[dict[str, Any]]) -> list[str]:
    return [choice["finish_reason"] for one in events for choice in one["choices"] if choice.get("finish_reason")]


async def test_parameters_are_set_and_dropped_in_order_and_the_rest_is_left(served_echo: Served) -> None:
    answer = await served_echo.chat(top_k=5, seed=1)
    asked = orjson.loads(answer.content)["asked"]
    assert asked == {**CHAT_REQUEST, "seed": 7, "min_p": 0.1}
    assert served_echo.ledger.rules_applied == {"set_parameters": 1, "drop_parameters": 1}


@pytest.fixture
async def served_echo() -> AsyncIterator[Served]:
    """Behind the rules, an engine that answers with the body it was asked."""

    async def tell(asked: Any, writer: Any) -> None:
        await raw(200, orjson.dumps({**orjson.loads(chat_body("x")), "asked": asked.json}))(asked, writer)

    rules = [rule("set_parameters", values={"seed": 7, "min_p": 0.1}), rule("drop_parameters", names=["top_k"])]
    async with engine(tell) as server, serve_pool(server.port, rules=rules) as served:
        yield served


async def test_on_generate_the_parameters_are_those_inside_parameters() -> None:
    rules = [rule("set_parameters", values={"top_k": 1}), rule("drop_parameters", names=["inputs2"])]
    async with (
        engine(raw(200, b'{"generated_text":["x"]}')) as server,
        serve_pool(server.port, rules=rules) as served,
    ):
        await served.http.post("/generate", json={"inputs": "a", "parameters": {"max_new_tokens": 3}})
        assert server.asked[0].json == {"inputs": "a", "parameters": {"max_new_tokens": 3, "top_k": 1}}


@pytest.mark.parametrize(
    "spec",
    [
        rule("set_parameters", values={"messages": []}),
        rule("drop_parameters", names=["prompt"]),
        rule("set_parameters", values={}),
        rule("set_parameter", values={"a": 1}),
        rule("stop_strings", loudly=True),
    ],
)
def test_a_rule_that_is_unknown_empty_or_changes_the_question_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RULE_SPECS.validate_python([spec])


@pytest.mark.parametrize("option", [{"messages": []}, {"max_completion_tokens": 9}, {"chat_template_kwargs": {"a": 1}}])
async def test_a_chat_only_option_of_a_text_completion_is_an_error_and_is_counted(option: dict[str, Any]) -> None:
    async with engine(raw(200, b'{"choices":[{"text":"4"}]}')) as server, serve_pool(server.port) as served:
        answer = await served.http.post("/v1/completions", json={**COMPLETION, **option})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert next(iter(option)) in answer.json()["error"]["message"]
        assert (server.asked, dict(served.ledger.failed_by_cause)) == ([], {"http_400": 1})
        assert (await served.http.post("/v1/completions", json={**COMPLETION, "tools": None})).status_code == 200


async def test_the_guard_can_be_switched_off_and_leaves_chats_alone() -> None:
    rules = [rule("completions_guard", enabled=False)]
    async with engine(chat("4")) as server:
        async with serve_pool(server.port, rules=rules) as served:
            answer = await served.http.post("/v1/completions", json={**COMPLETION, "max_completion_tokens": 9})
            assert (answer.status_code, server.asked[0].json["max_completion_tokens"]) == (502, 9)  # no text in a chat
        async with serve_pool(server.port) as served:
            assert (await served.chat(tools=[], max_completion_tokens=9)).status_code == 200


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ({}, "<think>so\n</think>\n\n42", {"content": "42", "reasoning_content": "so\n"}),
        ({}, " \n<think></think>42", {"content": "42"}),
        ({"drop": True}, "<think>so</think>42", {"content": "42"}),
        ({}, "<think>cut at the len", {"content": "", "reasoning_content": "cut at the len"}),
        ({"opened": True}, "so</think> 42", {"content": "42", "reasoning_content": "so"}),
        ({}, "no <think>at the start</think>", {"content": "no <think>at the start</think>"}),
        ({}, "<thinking>", {"content": "<thinking>"}),
    ],
)
async def test_a_thought_is_told_from_the_content_whole_and_however_the_stream_is_cut(
    options: dict[str, Any], content: str, message: dict[str, str]
) -> None:
    rules = [rule("think_to_reasoning", **options)]
    async with engine(chat(content)) as server, serve_pool(server.port, rules=rules) as served:
        answer = await served.chat()
        assert answer.json()["choices"][0]["message"] == {"role": "assistant", **message}
        assert (answer.content == chat_body(content)) == (message == {"content": content})
    for size in (1, 3, 100):
        pieces = [event(content[at : at + size]) for at in range(0, len(content), size)]
        async with (
            engine(stream(*pieces, event(None, "stop"))) as server,
            serve_pool(server.port, rules=rules) as served,
        ):
            events = await streamed(served)
            assert said(events) == message["content"]
            assert said(events, "reasoning_content") == message.get("reasoning_content", "")
            assert finishes(events) == ["stop"]


STOPS = [
    ("12\nQuestion: more", ["Question:"], {}, "12\n", "stop"),
    ("a Q b Qu", ["Question:", "Qux"], {}, "a Q b Qu", "length"),
    ("one END two", "END", {"include_stop_str_in_output": True}, "one END", "stop"),
    ("xabcd", ["bcd", "c", "abcdef"], {}, "xab", "stop"),  # `c` is complete first
    ("4\n\n", ["\n\n", ""], {}, "4", "stop"),
    ("untouched", None, {}, "untouched", "length"),
]


@pytest.mark.parametrize(("content", "stop", "more", "left", "finish"), STOPS)
async def test_an_answer_ends_before_its_first_stop_string_whole_and_however_the_stream_is_cut(
    content: str, stop: Any, more: dict[str, Any], left: str, finish: str
) -> None:
    rules, request = [rule("stop_strings")], {"stop": stop, **more}
    async with engine(chat(content, finish_reason="length")) as server, serve_pool(server.port, rules=rules) as served:
        answer = await served.chat(**request)
        choice = answer.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (left, finish)
        assert (answer.content == chat_body(content, finish_reason="length")) == (finish == "length")
        assert served.ledger.rules_applied["stop_strings"] == (finish == "stop")
    for size in (1, 2, 100):
        pieces = [event(content[at : at + size]) for at in range(0, len(content), size)]
        last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": USAGE})
        async with (
            engine(stream(*pieces, event(None, "length"), last)) as server,
            serve_pool(server.port, rules=rules) as served,
        ):
            events = await streamed(served, **request)
            assert (said(events), finishes(events), events[-1]["usage"]) == (left, [finish], USAGE)


async def test_choices_stop_each_by_itself_and_an_echoed_prompt_is_not_searched() -> None:
    texts = ["2+2=4;5", "2+2=6", "2+2=;"]
    body = {"choices": [{"index": n, "text": text, "finish_reason": "length"} for n, text in enumerate(texts)]}
    request = {**COMPLETION, "prompt": "2+2=", "echo": True, "n": 3, "stop": [";", "2"]}
    async with (
        engine(raw(200, orjson.dumps(body))) as server,
        serve_pool(server.port, rules=[rule("stop_strings")]) as served,
    ):
        choices = (await served.http.post("/v1/completions", json=request)).json()["choices"]
        assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [
            ("2+2=4", "stop"),
            ("2+2=6", "length"),
            ("2+2=", "stop"),
        ]


async def test_log_probabilities_end_with_the_text() -> None:
    tokens = ["ab", "c;", "d"]
    entries = [{"token": token, "logprob": -1.0, "top_logprobs": []} for token in tokens]
    lists = {"tokens": tokens, "token_logprobs": [-1.0, -2.0, -3.0], "top_logprobs": None, "text_offset": [0, 2, 4]}
    text = orjson.dumps({"choices": [{"text": "abc;d", "finish_reason": "length", "logprobs": lists}]})
    behaviours = in_turn(chat("abc;d", logprobs={"content": entries}), raw(200, text))
    async with engine(behaviours) as server, serve_pool(server.port, rules=[rule("stop_strings")]) as served:
        assert (await served.chat(stop=";")).json()["choices"][0]["logprobs"] == {"content": entries[:2]}
        answer = await served.http.post("/v1/completions", json={**COMPLETION, "stop": ";"})
        cut = {"tokens": tokens[:2], "token_logprobs": [-1.0, -2.0], "top_logprobs": None, "text_offset": [0, 2]}
        assert answer.json()["choices"][0]["logprobs"] == cut


def test_only_rules_on_requests_belong_to_the_fingerprint() -> None:
    specs = [rule("stop_strings"), rule("drop_parameters", names=["top_k"]), rule("set_parameters", values={"a": 1})]
    assert [spec.rule for spec in request_rules(RULE_SPECS.validate_python(specs))] == [
        "drop_parameters",
        "set_parameters",
    ]


async def test_text_is_passed_on_as_soon_as_it_can_be_no_stop_string() -> None:
    gate = asyncio.Semaphore(1)
    pieces = [event("one E"), event("NE"), event(None, "stop"), DONE]
    async with (
        engine(chunked(pieces, "text/event-stream", gate)) as server,
        serve_pool(server.port, rules=[rule("stop_strings")]) as served,
    ):
        body = {**CHAT_REQUEST, "stream": True, "stop": "END"}
        async with served.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            chunks = answer.aiter_text()
            assert '"one "' in await anext(chunks)
            gate.release()
            assert '"EN"' in await anext(chunks)
            gate.release()
            gate.release()
            rest = "".join([chunk async for chunk in chunks])
            assert '"E"' in rest
            assert "[DONE]" in rest


@pytest.mark.parametrize(
    ("reason", "tokens", "limit", "repaired"),
    [
        ("eos_token", 2, 9, "stop"),
        ("MAX_TOKENS", 2, 9, "length"),
        ("STOP", 2, 9, "stop"),
        (None, 4, 4, "length"),
        (None, 4, 9, "stop"),
        (None, 4, None, "stop"),
        ("length", 4, 9, "length"),
        ("odd", 4, 9, "odd"),
    ],
)
async def test_a_finish_reason_is_named_as_openai_does(
    reason: str | None, tokens: int, limit: int | None, repaired: str
) -> None:
    usage = {**USAGE, "completion_tokens": tokens}
    body = orjson.dumps({**orjson.loads(chat_body("x", finish_reason=reason)), "usage": usage})
    rules = [rule("finish_reason_repair")]
    async with engine(raw(200, body)) as server, serve_pool(server.port, rules=rules) as served:
        answer = await served.chat(max_tokens=limit)
        assert answer.json()["choices"][0]["finish_reason"] == repaired
        assert (answer.content == body) == (repaired == reason)
    last = b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage})
    async with (
        engine(stream(event("x"), event(None, reason), last)) as server,
        serve_pool(server.port, rules=rules) as served,
    ):
        events = await streamed(served, max_tokens=limit)
        assert (finishes(events), said(events), events[-1]["usage"]) == ([repaired], "x", usage)


async def test_a_stream_without_finish_reason_and_usage_ends_by_the_count_of_its_texts() -> None:
    rules = [rule("finish_reason_repair")]
    async with engine(stream(event("a"), event("b"))) as server, serve_pool(server.port, rules=rules) as served:
        assert finishes(await streamed(served, max_tokens=2)) == ["length"]
        assert finishes(await streamed(served, max_tokens=3)) == ["stop"]


async def test_rules_apply_in_the_order_of_the_spec() -> None:
    answer = "<think>stop here</think>go on, stop, not this"
    both = [rule("think_to_reasoning"), rule("stop_strings")]
    async with engine(chat(answer)) as server:
        async with serve_pool(server.port, rules=both) as served:
            assert (await served.chat(stop="stop")).json()["choices"][0]["message"]["content"] == "go on, "
        async with serve_pool(server.port, rules=both[::-1]) as served:
            message = (await served.chat(stop="stop")).json()["choices"][0]["message"]
            assert message == {"role": "assistant", "content": ""}


async def test_a_stream_that_no_rule_changes_passes_byte_for_byte() -> None:
    events = [b": ping\n\n", event("a").replace(b'"a"', b'"a"  '), b"event: x\r\ndata: {}\r\n\r\n", event(None, "stop")]
    every = [rule("think_to_reasoning"), rule("stop_strings"), rule("finish_reason_repair")]
    async with engine(stream(*events)) as server, serve_pool(server.port, rules=every) as served:
        body = {**CHAT_REQUEST, "stream": True, "stop": "zzz"}
        assert (await served.http.post("/v1/chat/completions", json=body)).content == b"".join([*events, DONE])
        assert not served.ledger.rules_applied


async def test_the_journal_holds_the_engines_own_answer_and_a_replay_passes_the_rules(tmp_path: Path) -> None:
    path, rules = tmp_path / "journal", [rule("think_to_reasoning")]
    pieces = [event("<think>so</think>"), event("42"), event(None, "stop")]
    seen = []
    async with engine(stream(*pieces)) as server:
        for _ in range(2):
            async with (
                Journal(path, fingerprint="f") as journal,
                serve_pool(server.port, journal=journal, rules=rules) as served,
            ):
                events = await streamed(served)
                seen.append((said(events), said(events, "reasoning_content")))
                assert served.ledger.rules_applied == {"think_to_reasoning": 1}
    assert (seen, len(server.asked)) == ([("42", "so")] * 2, 1)
    assert [record["body"] for record in read_records(path)] == [b"".join([*pieces, DONE]).decode()]
