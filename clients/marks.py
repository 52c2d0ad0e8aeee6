"""What a client gets for a request that failed for good: an error, or on demand an answer marked as failed.

Evaluators abort a whole data set on one error, or retry it for ever, and score an empty answer. A request
with the header `x-orchestrator-on-failure: mark` therefore gets a well-formed answer whose text is a mark;
whoever reads the evaluator's predictions finds the mark and takes the sample out of the score. Where scores of the
prompt were asked for, all of them are minus infinity, which stays so in every sum and mean, and no engine gives.
"""

from __future__ import annotations

import re
import time
from typing import Any

import orjson

from clients.answers import COMPLETIONS, GENERATE
from clients.request import InferenceRequest

FAILURE_MARK_PREFIX = "[[request-failed:"
_MINUS_INFINITY = orjson.Fragment(b"-1e999")  # valid JSON, unlike `-Infinity`, and read as that
_MARK = re.compile(re.escape(FAILURE_MARK_PREFIX) + r"([0-9a-f-]+)\]\]")


def failure_mark(failure_id: str) -> str:
    """The text that stands for a failed request."""
    return f"{FAILURE_MARK_PREFIX}{failure_id}]]"


def is_failure_mark(text: str) -> bool:
    """Does this prediction hold the mark of a failed request?"""
    return _MARK.search(text) is not None


def failure_id_of(text: str) -> str | None:
    """The id of the failure (see `Ledger.failures`) whose mark this prediction holds."""
    found = _MARK.search(text)
    return found and found[1]


def marked_answer(request: InferenceRequest, failure_id: str) -> bytes:
    """A well-formed JSON answer to `request` whose text is the mark."""
    text = failure_mark(failure_id)
    if request.path == GENERATE:
        return orjson.dumps({"generated_text": [text], "count_output_tokens": 0, "finish_reason": "stop"})
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    chat = request.path != COMPLETIONS
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    prompts, copies = _prompts(request), _copies(request)
    return orjson.dumps(
        {
            "id": f"failed-{failure_id}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": str((request.json or {}).get("model", "")),
            "choices": [
                {**choice, "index": index, **_scores(request, prompts[index // copies])}
                for index in range(len(prompts) * copies)
            ],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }
    )


def error_body(message: str, code: str, *, kind: str = "upstream_error") -> bytes:
    """An error in the OpenAI envelope."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _prompts(request: InferenceRequest) -> list[Any]:
    """One for each answer that was asked for, so that the client finds each of them; a chat is one."""
    prompt = (request.json or {}).get("prompt")
    several = isinstance(prompt, list) and prompt and all(isinstance(one, str | list) for one in prompt)
    return list(prompt) if isinstance(prompt, list) and several else [prompt]


def _copies(request: InferenceRequest) -> int:
    n = (request.json or {}).get("n")
    return n if isinstance(n, int) and 0 < n <= 1024 else 1


def _scores(request: InferenceRequest, prompt: object) -> dict[str, Any]:
    """Marked log-probabilities, where the prompt's were asked for: one per token id, for a text as many or more."""
    body = request.json or {}
    if not body.get("echo") or body.get("logprobs") is None or not isinstance(prompt, str | list):
        return {}
    count = len(prompt.encode()) if isinstance(prompt, str) else len(prompt)
    rest = [_MINUS_INFINITY] * count  # and one more: the client expects a generated token
    scores = {
        "tokens": [""] * (count + 1),
        "token_logprobs": [None, *rest],
        "top_logprobs": [None, *({"": one} for one in rest)],
        "text_offset": [0] * (count + 1),
    }
    return {"logprobs": scores}
