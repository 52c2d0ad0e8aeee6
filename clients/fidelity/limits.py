"""Does an answer end where it was asked to end, and is a prompt refused that the model cannot read?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from clients.fidelity.asking import Asker
from clients.fidelity.greedy import Samples
from clients.fidelity.prompts import MAX_TOKENS
from clients.fidelity.report import Finding
from clients.fidelity.tokenizer import LocalTokenizer

LONGEST = 65536
"""Tokens above which no over-long prompt is tried: an engine that does not check would work on it for minutes."""
_FILLER = " word and another word"
_MEASURED = 64
"""Tokens of the prompt from whose time that of an over-long one is estimated."""
_PATIENCE = 30.0
"""Seconds that an over-long prompt may take by that estimate."""


async def check_max_tokens(asker: Asker, samples: Samples) -> Finding:
    """`max_tokens: 1` must give one token."""
    prompt, whole = samples.longest
    answer = await asker.ask(prompt, max_tokens=1)
    if answer.status != 200:
        return Finding("max_tokens", "unknown", f"no answer: HTTP {answer.status}: {answer.excerpt}")
    count = answer.completion_tokens
    data = {"text": answer.text, "completion_tokens": count, "finish_reason": answer.finish_reason}
    if (count or 0) > 2 or (len(whole.text) > MAX_TOKENS and answer.text == whole.text):
        fact = f"max_tokens is ignored: asked for 1 token, it generated {count or 'the whole text'}"
        return Finding("max_tokens", "falsifies", fact, data, "use an engine version that honours max_tokens")
    if (whole.completion_tokens or 0) > MAX_TOKENS + 1:
        fact = f"max_tokens is ignored: asked for {MAX_TOKENS} tokens, it generated {whole.completion_tokens}"
        return Finding("max_tokens", "falsifies", fact, data, "use an engine version that honours max_tokens")
    if answer.finish_reason == "length" and count in (1, None):
        return Finding("max_tokens", "ok", "`max_tokens: 1` gives one token and finish_reason `length`", data)
    fact = f"`max_tokens: 1` gives {count} tokens and finish_reason {answer.finish_reason!r} instead of `length`"
    return Finding("max_tokens", "note", fact, data, "answers that were cut cannot be told by their finish_reason")


async def check_over_long(
    asker: Asker, tokenizer: LocalTokenizer | None, folder: Path | None, limit: int | None, left: float
) -> Finding:
    """A prompt longer than the context must be refused. `left`: seconds that are left for it."""
    context = limit or await _listed_limit(asker) or _configured_limit(folder)
    if context is None:
        return Finding("over_long", "unknown", "the length of the context is not known")
    if context > LONGEST:
        return Finding("over_long", "unknown", f"not tried: the context has {context} tokens", {"context": context})
    seconds = await _seconds_for(asker, context, tokenizer)
    if seconds > min(left, _PATIENCE):
        fact = f"not tried: a prompt of {context} tokens might take {seconds:.0f} s"
        return Finding("over_long", "unknown", fact, {"context": context})
    answer = await asker.ask(_filled(context, tokenizer), max_tokens=1)
    data = {"context": context, "status": answer.status, "prompt_tokens": answer.prompt_tokens, "text": answer.text}
    if answer.refused:
        fact = f"a prompt longer than the context of {context} tokens is refused with {answer.status}"
        return Finding("over_long", "ok", fact, data)
    came = "with a text" if answer.text else "with nothing"
    fact = f"a prompt longer than the context of {context} tokens is answered {answer.status} {came}"
    advice = f"make sure that no sample is longer than {context} tokens (evaluate.limit, max_out_len, fewer examples)"
    return Finding("over_long", "note", fact, data, advice)


async def _seconds_for(asker: Asker, tokens: int, tokenizer: LocalTokenizer | None) -> float:
    """Seconds that an engine which does not check might work on so long a prompt."""
    began = time.monotonic()
    await asker.ask(_filled(_MEASURED, tokenizer), max_tokens=1)
    return (time.monotonic() - began) * tokens / _MEASURED


def _filled(tokens: int, tokenizer: LocalTokenizer | None) -> str:
    """A text of more than `tokens` tokens."""
    words = len(_FILLER.split())
    each = tokenizer.count(_FILLER * 8, special=False) / 8 if tokenizer else words
    return _FILLER * (int(tokens / each) + 8)


async def _listed_limit(asker: Asker) -> int | None:
    try:
        listed = (await asker.http.get(f"{asker.base_url}/v1/models")).json()["data"]
        limits = [card.get("max_model_len") for card in listed if card.get("id") == asker.model or len(listed) == 1]
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return next((limit for limit in limits if isinstance(limit, int)), None)


def _configured_limit(folder: Path | None) -> int | None:
    try:
        config: Any = orjson.loads((folder / "config.json").read_bytes()) if folder else {}
        found = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None
