"""Plausible log-probabilities, in the forms of chat and text completions; the same token always has the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.fake_engine.faults import share


def chat_logprobs(tokens: Sequence[str], top: int) -> dict[str, Any]:
    """`{"content": [{token, logprob, bytes, top_logprobs}]}` with `top` candidates each, the token the first."""
    return {"content": [{**_entry(*scored(token)), "top_logprobs": _top(token, top)} for token in tokens]}


def text_logprobs(tokens: Sequence[str], top: int, offset: int = 0) -> dict[str, Any]:
    """`{tokens, token_logprobs, top_logprobs, text_offset}`; `offset` characters of the text came before."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": list(tokens),
        "token_logprobs": [scored(token)[1] for token in tokens],
        "top_logprobs": [dict(_candidates(token, top)) for token in tokens] if top else None,
        "text_offset": offsets,
    }


def scored(token: str) -> tuple[str, float]:
    """The token with its log-probability, wherever it stands."""
    return token, math.log(0.5 + share(0, "logprob", token) * 0.49)


def _top(token: str, count: int) -> list[dict[str, Any]]:
    return [_entry(*candidate) for candidate in _candidates(token, count)]


def _candidates(token: str, count: int) -> list[tuple[str, float]]:
    best = scored(token)
    rest = math.log1p(-math.exp(best[1]))  # what is left is halved from candidate to candidate
    others = [(f"{token}{number}", rest - number * math.log(2)) for number in range(1, count)]
    return sorted([best, *others][:count], key=lambda candidate: -candidate[1])


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
