"""`finish_reason_repair`: a finish reason that is missing or in an engine's own words becomes OpenAI's."""

from __future__ import annotations

from typing import Any

from clients.answers import CHAT, COMPLETIONS
from clients.request import InferenceRequest
from clients.rules.base import AnswerEdit, AnswerRule, Json, choices_of, index_of, text_of

_SAME = {
    **dict.fromkeys(
        ("eos", "eos_token", "eos_token_id", "end_of_text", "end_turn", "stop_sequence", "stopped"), "stop"
    ),
    **dict.fromkeys(("max_tokens", "max_length", "max_new_tokens", "length_limit", "limit"), "length"),
    **dict.fromkeys(("tool_call", "tool_use"), "tool_calls"),
}
_KNOWN = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})


def finish_reason_repair() -> AnswerRule:
    """Name the finish reason as OpenAI does (`eos_token` is `stop`, `MAX_TOKENS` is `length`).

    A missing one is `tool_calls` where there are some, `length` where as many tokens came as the request allowed, else
    `stop`. In a stream without usage an event with text counts as one token. Chat and text completions.
    """
    return AnswerRule("finish_reason_repair", _edit)


def _edit(request: InferenceRequest) -> AnswerEdit | None:
    if request.path not in (CHAT, COMPLETIONS) or request.json is None:
        return None
    return _Edit(request.json, "delta" if request.path == CHAT else "text")


class _Edit:
    def __init__(self, request: Json, form: str) -> None:
        limits = (request.get("max_completion_tokens"), request.get("max_tokens"))
        self._limit = next((limit for limit in limits if isinstance(limit, int)), None)
        self._form = form
        self._tokens: dict[int, int] = {}
        """Events with text, by choice that has not finished."""
        self._finished: set[int] = set()
        self._calls: set[int] = set()

    def whole(self, answer: Json) -> bool:
        choices = list(choices_of(answer))
        tokens = _completion_tokens(answer)
        each = tokens / len(choices) if tokens is not None and choices else 0
        changed = [self._repair(choice, each) for choice in choices]
        return any(changed)

    def event(self, event: Json) -> list[Json] | None:
        changed = [self._seen(choice) for choice in choices_of(event)]
        if not event.get("choices") and event.get("usage") and self._tokens:  # the finish comes before the usage
            tokens = _completion_tokens(event)
            count = len(self._tokens) + len(self._finished)
            return [*self._missing(None if tokens is None else tokens / count), event]
        return [event] if any(changed) else None

    def end(self) -> list[Json]:
        return self._missing(None)

    def _repair(self, choice: Json, tokens: float) -> bool:
        reason = choice.get("finish_reason")
        if reason:
            choice["finish_reason"] = _name(reason)
            return bool(choice["finish_reason"] != reason)
        choice["finish_reason"] = self._guess(tokens, bool((choice.get("message") or {}).get("tool_calls")))
        return True

    def _seen(self, choice: Json) -> bool:
        index, reason = index_of(choice), choice.get("finish_reason")
        if (choice.get("delta") or {}).get("tool_calls"):
            self._calls.add(index)
        if not reason:
            if index not in self._finished:
                self._tokens[index] = self._tokens.get(index, 0) + bool(text_of(choice))
            return False
        self._tokens.pop(index, None)
        self._finished.add(index)
        choice["finish_reason"] = _name(reason)
        return bool(choice["finish_reason"] != reason)

    def _missing(self, tokens: float | None) -> list[Json]:
        open_, self._tokens = self._tokens, {}
        self._finished.update(open_)
        empty: Json = {"delta": {}} if self._form == "delta" else {"text": ""}
        return [
            {"choices": [{"index": index, **empty, "finish_reason": self._guess(tokens or seen, index in self._calls)}]}
            for index, seen in sorted(open_.items())
        ]

    def _guess(self, tokens: float, calls: bool) -> str:
        if calls:
            return "tool_calls"
        return "length" if self._limit is not None and tokens >= self._limit else "stop"


def _name(reason: Any) -> Any:
    """The name of OpenAI for a finish reason; one that nobody knows stays."""
    if not isinstance(reason, str) or reason in _KNOWN:
        return reason
    lower = reason.lower().replace("-", "_")
    return lower if lower in _KNOWN else _SAME.get(lower, reason)


def _completion_tokens(answer: Json) -> int | None:
    tokens = (answer.get("usage") or {}).get("completion_tokens")
    return tokens if isinstance(tokens, int) else None
