"""Is this an answer? Engines fail with status 200 too: an error object, nothing at all, half a stream.

An evaluator scores such a body as a wrong answer (an empty one sometimes as a right one), so it is judged
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
GENERATE = "/generate"
RETRYABLE_STATUS = frozenset({408, 417, 429, 499})  # 417 and 499: LightLLM, an exception and an aborted request
_BROKEN_FINISH = frozenset({"error", "abort"})

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`cause` is None for a real answer, else why it is none."""

    cause: str | None = None
    message: str = ""
    tokens: tuple[int, int] | None = None
    """(prompt, completion), where the engine told."""


def judge(path: str, request: Json | None, status: int, body: bytes) -> Verdict:
    """Judge a whole answer to `request` (its JSON object, if it is one).

    Causes: `http_<status>`, `bad_json`, `error_body`, `finish_reason_error`, `empty_answer`.
    """
    if status != 200:
        return Verdict(f"http_{status}", _excerpt(body))
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Verdict("bad_json" if body.strip() else "empty_answer", _excerpt(body))
    if not isinstance(answer, dict):
        return Verdict("bad_json", _excerpt(body))
    cause = _cause(path, request or {}, answer)
    return Verdict(cause, _excerpt(body) if cause else "", _tokens(answer))


def judge_stream(path: str, request: Json | None, body: bytes) -> Verdict:
    """Judge a whole stream of server-sent events at once: see `StreamJudge`."""
    judge = StreamJudge(path, request)
    judge.add(body)
    return judge.verdict()


class StreamJudge:
    """Judges a stream of server-sent events while it passes, and keeps none of it.

    Causes: those of `judge`, and `cut` for a stream that neither finished a choice nor said `[DONE]`.
    """

    def __init__(self, path: str, request: Json | None) -> None:
        self._done = False
        self._chat = path == CHAT
        self._said = path == COMPLETIONS and _only_scores(request or {})
        self._finished = False
        self._tokens: tuple[int, int] | None = None
        self._bad: Verdict | None = None
        self._line = b""  # the beginning of one that is not complete

    @property
    def done(self) -> bool:
        """`[DONE]` was said. Inside JSON line breaks are escaped, so that no text is taken for it."""
        return self._done or self._line.rstrip() in (b"data: [DONE]", b"data:[DONE]")

    def add(self, data: bytes) -> None:
        """More of the stream, cut anywhere."""
        if self._line:
            data = self._line + data
        lines = data.splitlines(keepends=True)
        self._line = lines.pop() if lines and not data.endswith((b"\n", b"\r")) else b""
        for line in lines:
            if line.startswith(b"data:") and self._bad is None:
                self._bad = self._event(line[5:].strip())

    def verdict(self) -> Verdict:
        """The verdict on all of it; only when it has ended."""
        self.add(b"\n")
        if self._bad is not None:
            return self._bad
        if not self._finished:
            return Verdict("cut", "the stream ended without a finish reason and without [DONE]", self._tokens)
        return Verdict(None if self._said else "empty_answer", "", self._tokens)

    def _event(self, data: bytes) -> Verdict | None:
        """Why this event spoils the stream, if it does."""
        if data == b"[DONE]":
            self._done = self._finished = True
            return None
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            return Verdict("bad_json", _excerpt(data))
        if not isinstance(event, dict):
            return Verdict("bad_json", _excerpt(data))
        if event.get("error"):
            return Verdict("error_body", _excerpt(data))
        self._tokens = _tokens(event) or self._tokens
        for choice in _choices(event):
            if choice.get("finish_reason") in _BROKEN_FINISH:
                return Verdict("finish_reason_error", _excerpt(data))
            self._finished = self._finished or bool(choice.get("finish_reason"))
            self._said = self._said or _says(choice.get("delta") if self._chat else choice)
        return None


def retryable(cause: str, status: int) -> bool:
    """May another attempt get a real answer? Not where the engine refused the request itself."""
    if cause.startswith("http_"):
        return status in RETRYABLE_STATUS or (status >= 500 and status != 501)
    return True


def _cause(path: str, request: Json, answer: Json) -> str | None:
    if answer.get("error") or answer.get("object") == "error":
        return "error_body"
    if path == GENERATE:
        return _cause_of_generate(request, answer)
    choices = list(_choices(answer))
    if not choices:
        return "empty_answer"
    if any(choice.get("finish_reason") in _BROKEN_FINISH for choice in choices):
        return "finish_reason_error"
    if path == COMPLETIONS:
        return None if _only_scores(request) else _empty(map(_says, choices))
    return _empty(_says(choice.get("message")) for choice in choices)


def _cause_of_generate(request: Json, answer: Json) -> str | None:
    if answer.get("finish_reason") in _BROKEN_FINISH:
        return "finish_reason_error"
    texts = answer.get("generated_text", answer.get("text"))
    texts = texts if isinstance(texts, list) else [texts]
    parameters = request.get("parameters")
    if isinstance(parameters, dict) and parameters.get("prompt_logprobs") is not None:
        return None
    return _empty(_is_text(text) for text in texts) if texts else "empty_answer"


def _only_scores(request: Json) -> bool:
    """Asked for scores of the prompt, so that the text may be empty."""
    return request.get("max_tokens") == 0 or bool(request.get("echo")) or request.get("logprobs") is not None


def _empty(said: Iterable[bool]) -> str | None:
    return None if all(said) else "empty_answer"


def _says(part: object) -> bool:
    """Does a message, a delta or a choice of completions carry anything?"""
    if not isinstance(part, dict):
        return False
    return bool(part.get("tool_calls") or part.get("function_call")) or any(
        _is_text(part.get(name)) for name in ("content", "text", "reasoning", "reasoning_content", "refusal")
    )


def _is_text(value: object) -> bool:
    if isinstance(value, list):  # content in parts
        return any(isinstance(part, dict) and _is_text(part.get("text")) for part in value)
    return isinstance(value, str) and bool(value.strip())


def _choices(answer: Json) -> Iterator[dict[str, Any]]:
    choices = answer.get("choices")
    if isinstance(choices, list):
        yield from (choice for choice in choices if isinstance(choice, dict))


def _tokens(answer: Json) -> tuple[int, int] | None:
    usage = answer.get("usage")
    if isinstance(usage, dict):
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    else:
        prompt, completion = answer.get("prompt_tokens"), answer.get("count_output_tokens")
    if not isinstance(prompt, int):
        return None
    return prompt, completion if isinstance(completion, int) else 0


def _excerpt(body: bytes) -> str:
    return body[:400].decode(errors="replace")[:200]
