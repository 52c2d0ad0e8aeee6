from __future__ import annotations

from typing import Any

import orjson
import pytest

from clients.answers import CHAT, COMPLETIONS, GENERATE, judge, judge_stream, retryable


def chat(message: dict[str, Any], **choice: object) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop", **choice}]}


def verdict(path: str, answer: object, request: dict[str, Any] | None = None) -> str | None:
    return judge(path, request or {}, 200, orjson.dumps(answer)).cause


@pytest.mark.parametrize(
    "answer",
    [
        chat({"content": "4"}),
        chat({"content": None, "tool_calls": [{"id": "1"}]}),
        chat({"content": None, "reasoning_content": "hm"}),
        chat({"content": "", "reasoning": "hm"}, finish_reason="length"),
        chat({"content": [{"type": "text", "text": "4"}]}),
        {**chat({"content": "4"}), "error": None},
    ],
)
def test_a_chat_message_that_says_something_is_an_answer(answer: object) -> None:
    assert verdict(CHAT, answer) is None


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (chat({"content": ""}), "empty_answer"),
        (chat({"content": " \n"}), "empty_answer"),
        (chat({"content": None, "tool_calls": []}), "empty_answer"),
        ({"choices": []}, "empty_answer"),
        ({}, "empty_answer"),
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": ""}}]}, "empty_answer"),
        (chat({"content": "4"}, finish_reason="error"), "finish_reason_error"),
        (chat({"content": "4"}, finish_reason="abort"), "finish_reason_error"),
        ({"error": {"message": "x"}}, "error_body"),
        ({"object": "error", "message": "x"}, "error_body"),
        ([1, 2], "bad_json"),
    ],
)
def test_a_chat_answer_without_content_is_a_failure(answer: object, cause: str) -> None:
    assert verdict(CHAT, answer) == cause


@pytest.mark.parametrize(
    ("request_body", "cause"),
    [({}, "empty_answer"), ({"max_tokens": 0}, None), ({"echo": True}, None), ({"logprobs": 5}, None)],
)
def test_completions_may_be_empty_only_where_scores_were_asked(request_body: dict[str, Any], cause: str | None) -> None:
    assert verdict(COMPLETIONS, {"choices": [{"text": ""}]}, request_body) == cause


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ({"generated_text": ["4"]}, None),
        ({"generated_text": "4"}, None),
        ({"generated_text": [""]}, "empty_answer"),
        ({"generated_text": []}, "empty_answer"),
        ({}, "empty_answer"),
        ({"generated_text": ["4"], "finish_reason": "error"}, "finish_reason_error"),
    ],
)
def test_an_answer_of_lightllm_is_judged_by_its_generated_text(answer: object, cause: str | None) -> None:
    assert verdict(GENERATE, answer) == cause


def test_half_json_and_other_statuses_are_failures() -> None:
    assert judge(CHAT, {}, 200, b'{"choices": [').cause == "bad_json"
    assert judge(CHAT, {}, 200, b"  ").cause == "empty_answer"
    assert judge(CHAT, {}, 503, b"busy").cause == "http_503"


def test_tokens_are_read_where_the_engine_tells_them() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    assert judge(CHAT, {}, 200, orjson.dumps({**chat({"content": "4"}), "usage": usage})).tokens == (7, 3)
    lightllm = {"generated_text": ["4"], "prompt_tokens": 5, "count_output_tokens": 1}
    assert judge(GENERATE, {}, 200, orjson.dumps(lightllm)).tokens == (5, 1)
    assert judge(CHAT, {}, 200, orjson.dumps(chat({"content": "4"}))).tokens is None


def stream(*events: object, done: bool = True) -> bytes:
    lines = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    return lines + b"data: [DONE]\n\n" if done else lines


def delta(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (stream(delta(""), delta("4"), delta(None, "stop"), USAGE), None),
        (stream(delta("4"), delta(None, "stop"), done=False), None),
        (stream(delta("4")), None),
        (stream(delta("4"), done=False), "cut"),
        (b"", "cut"),
        (stream(delta("4"), delta(None, "stop"))[:30], "bad_json"),
        (stream(delta(""), delta(None, "stop")), "empty_answer"),
        (stream(delta("4"), delta(None, "error")), "finish_reason_error"),
        (stream(delta("4"), {"error": {"message": "x"}}), "error_body"),
        (b": comment\r\ndata:{}\r\n\r\n" + stream(delta("4")), None),
    ],
)
def test_a_stream_is_judged_whole(body: bytes, cause: str | None) -> None:
    assert judge_stream(CHAT, {}, body).cause == cause


def test_the_usage_of_a_stream_is_read() -> None:
    assert judge_stream(CHAT, {}, stream(delta("4"), delta(None, "stop"), USAGE)).tokens == (1, 2)


@pytest.mark.parametrize(
    ("status", "worth_another"),
    [
        (400, False),
        (404, False),
        (408, True),
        (417, True),
        (422, False),
        (429, True),
        (499, True),
        (500, True),
        (501, False),
    ],
)
def test_only_what_may_pass_is_repeated(status: int, worth_another: bool) -> None:
    assert retryable(f"http_{status}", status) is worth_another
