"""What a client gets for a request that failed for good: an error, or on demand an answer marked as failed.

Evaluators abort a whole data set on one error, or retry it for ever, and score an empty answer. A request
with the header `x-orchestrator-on-failure: mark` therefore gets a well-formed answer whose text is a mark;
whoever reads the evaluator's predictions finds the mark and takes the sample out of the score.
"""

from __future__ import annotations

import re
import time
from typing import Any

import orjson

from clients.answers import COMPLETIONS, GENERATE
from clients.request import InferenceRequest

FAILURE_MARK_PREFIX = "[[request-failed:"
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
    count = _choices_wanted(request)
    return orjson.dumps(
        {
            "id": f"failed-{failure_id}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": str((request.json or {}).get("model", "")),
            "choices": [{**choice, "index": index} for index in range(count)],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }
    )


def error_body(message: str, code: str, *, kind: str = "upstream_error") -> bytes:
    """An error in the OpenAI envelope."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _choices_wanted(request: InferenceRequest) -> int:
    """As many marked choices as answers were asked for, so that the client finds each of them."""
    body = request.json or {}
    n, prompt = body.get("n"), body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and all(isinstance(one, str) for one in prompt) else 1
    return max(1, prompts) * (n if isinstance(n, int) and 0 < n <= 1024 else 1)
