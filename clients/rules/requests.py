"""Rules on requests: the model's name, parameters set and dropped, and the guard of text completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clients.answers import COMPLETIONS, GENERATE
from clients.replica import Replica
from clients.request import InferenceRequest
from clients.rules.base import Guard, Json, RequestRule

# What only a chat means. On a text completion engines ignore it in silence: `max_completion_tokens` leaves the default
# of 16 tokens, a chat template's switch does nothing.
CHAT_ONLY = frozenset(
    {
        *("messages", "documents", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
        *("chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
        *("top_logprobs", "max_completion_tokens", "reasoning_effort"),
    }
)


def _model_name(body: Json, request: InferenceRequest, replica: Replica) -> Json:
    if replica.model is None or "model" not in body or body["model"] == replica.model:
        return body
    return {**body, "model": replica.model}


MODEL_NAME = RequestRule("model_name", _model_name)
"""The `model` of the request becomes the name that this engine expects."""


def set_parameters(values: Mapping[str, Any]) -> RequestRule:
    """Add or replace parameters (of `parameters` on `/generate`)."""

    def change(body: Json, request: InferenceRequest, replica: Replica) -> Json:
        old = _parameters(body, request)
        if all(name in old and old[name] == value for name, value in values.items()):
            return body
        return _with(body, request, {**old, **values})

    return RequestRule("set_parameters", change)


def sampling_in_full(always: Mapping[str, Any], greedy: Mapping[str, Any]) -> RequestRule:
    """Say what a request leaves out: `always`, and `greedy` at temperature 0; what it says itself stays."""

    def change(body: Json, request: InferenceRequest, replica: Replica) -> Json:
        old = _parameters(body, request)
        wanted = {**always, **greedy} if old.get("temperature") == 0 else always
        missing = {name: value for name, value in wanted.items() if old.get(name) is None}
        return _with(body, request, {**old, **missing}) if missing else body

    return RequestRule("sampling_in_full", change)


def drop_parameters(names: Sequence[str]) -> RequestRule:
    """Leave parameters out (of `parameters` on `/generate`)."""
    dropped = frozenset(names)

    def change(body: Json, request: InferenceRequest, replica: Replica) -> Json:
        old = _parameters(body, request)
        if dropped.isdisjoint(old):
            return body
        return _with(body, request, {name: value for name, value in old.items() if name not in dropped})

    return RequestRule("drop_parameters", change)


def _chat_only(request: InferenceRequest) -> str | None:
    if request.path != COMPLETIONS or request.json is None or CHAT_ONLY.isdisjoint(request.json):
        return None
    found = [name for name in request.json if name in CHAT_ONLY and request.json[name] is not None]
    if not found:
        return None
    return f"{', '.join(found)}: for chat completions only, {COMPLETIONS} would ignore it"


COMPLETIONS_GUARD = Guard("completions_guard", _chat_only)
"""A chat-only option of a text completion is an error, not silence."""


def _parameters(body: Json, request: InferenceRequest) -> Json:
    if request.path != GENERATE:
        return body
    parameters = body.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _with(body: Json, request: InferenceRequest, parameters: Json) -> Json:
    return {**body, "parameters": parameters} if request.path == GENERATE else parameters
