"""What must be known of an engine before it is measured: how it counts, and how it is made to go on to the full length.

Asked straight at a replica, so that what an engine refuses is not a failure of the job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from orchestrator.evaluators.speed.asking import PATH, Fields
from orchestrator.evaluators.speed.plan import SpeedFailed
from orchestrator.evaluators.speed.prompts import PromptMaker
from orchestrator.evaluators.speed.served import ServedReplica

SIZES = (24, 56)
"""Words of the two prompts by which the engine's way of counting is found."""
TRIAL = 48
"""Tokens that a way to the full length is tried with: more than engines say before a natural end, mostly."""
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """An engine that is known well enough to be measured."""

    maker: PromptMaker
    fields: Fields
    full_length: str | None
    """Names of the fields by which the full length is reached; None: by nothing."""
    notes: tuple[str, ...]


def _config_of_transformers(tokens: int) -> dict[str, Any]:
    # It replaces the whole of the model's generation config but for what it leaves out.
    wanted = {"min_new_tokens": tokens, "max_new_tokens": tokens, "do_sample": False}
    return {"generation_config": json.dumps(wanted)}


_WAYS: tuple[tuple[str | None, Fields], ...] = (
    ("ignore_eos, min_tokens", lambda tokens: {"ignore_eos": True, "min_tokens": tokens}),
    ("ignore_eos", lambda tokens: {"ignore_eos": True}),
    ("min_tokens", lambda tokens: {"min_tokens": tokens}),
    ("generation_config", _config_of_transformers),
    (None, lambda tokens: {}),
)


async def calibrate(replica: ServedReplica, model: str, maker: PromptMaker) -> Calibrated:
    """Find out by a handful of short generations.

    Raises: SpeedFailed when the engine answers none of them.
    """
    async with httpx.AsyncClient(base_url=replica.url, trust_env=False, timeout=_TIMEOUT) as http:
        asker = _Asker(http, replica.model or model)
        full_length, fields = await _way(asker, maker)
        counted = [await asker.usage(maker.make_words(words), 1, fields) for words in SIZES]
        local = maker.count(maker.make_words(SIZES[0]))
    notes = [] if full_length else ["the engine cannot be told to go on after an end of text: counts are as they came"]
    first, second = counted
    if first is None or second is None or second[0] <= first[0]:
        return Calibrated(maker, fields, full_length, (*notes, "the engine does not count prompt tokens"))
    known = maker.calibrated(SIZES, (first[0], second[0]))
    if local is not None and local != first[0]:
        notes.append(f"where the tokenizer counts {local} tokens, the engine counts {first[0]}; the engine's count")
    if not known.exact:
        notes.append("prompt lengths are near the wanted ones, not exact: no tokenizer, or not the engine's")
    return Calibrated(known, fields, full_length, tuple(notes))


class _Asker:
    def __init__(self, http: httpx.AsyncClient, model: str) -> None:
        self._http = http
        self._model = model
        self.last = ""

    async def usage(self, prompt: str, tokens: int, fields: Fields) -> tuple[int, int] | None:
        """Prompt and generated tokens, 0 where the engine does not count them; None when it refuses."""
        body = {"model": self._model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, **fields(tokens)}
        answer = await self._http.post(PATH, json=body)
        self.last = f"HTTP {answer.status_code}: {answer.text[:200]}"
        if answer.status_code != 200:
            return None
        usage = answer.json().get("usage") or {}
        return usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0


async def _way(asker: _Asker, maker: PromptMaker) -> tuple[str | None, Fields]:
    """The first way that leads to the full length."""
    answered = False
    for name, fields in _WAYS:
        usage = await asker.usage(maker.make_words(SIZES[0]), TRIAL, fields)
        answered = answered or usage is not None
        if usage and usage[1] == TRIAL and name:
            return name, fields
    if not answered:
        raise SpeedFailed(f"the engine answers no completion: {asker.last}", hint=f"it must serve {PATH}")
    return _WAYS[-1]
