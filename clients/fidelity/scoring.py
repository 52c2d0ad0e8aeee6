"""What else the API can do: log-probabilities, scores of a prompt, token ids, LightLLM's `/generate`."""

from __future__ import annotations

import math
from typing import Any

from clients.fidelity.asking import NO_ROUTE, Answer, Asker, Form
from clients.fidelity.prompts import SCORED
from clients.fidelity.report import Finding, FindingName
from clients.fidelity.tokenizer import LocalTokenizer

_IDS = [10, 11, 12, 13]
_LOGLIKELIHOOD = "data sets that are scored by log-likelihood need another engine"


async def check_logprobs_chat(asker: Asker) -> Finding:
    """`logprobs` of generated tokens over chat."""
    answer = await asker.ask(SCORED, form="chat", max_tokens=1, logprobs=True, top_logprobs=1)
    return _logprobs("logprobs_chat", "chat", answer, _choice(answer).get("logprobs"))


async def check_logprobs_completions(asker: Asker) -> Finding:
    """`logprobs` of generated tokens over completions."""
    answer = await asker.ask(SCORED, form="completions", max_tokens=1, logprobs=1)
    return _logprobs("logprobs_completions", "completions", answer, _token_logprobs(answer))


async def check_prompt_scores(asker: Asker) -> Finding:
    """`echo` with `logprobs`: null first, then a finite number for every token, and not always the same one."""
    # One token, not none: llama-cpp-python takes 0 for "no limit" and fills its context.
    answer = await asker.ask(SCORED, form="completions", max_tokens=1, echo=True, logprobs=1)
    scores = _token_logprobs(answer)
    if answer.status != 200 or not scores:
        return Finding("prompt_scores", "note", f"prompts are not scored: {_told(answer)}", {}, _LOGLIKELIHOOD)
    data = {"scores": scores, "prompt_tokens": answer.prompt_tokens}
    if complaint := complaint_about(scores, answer.prompt_tokens):
        fact = f"the scores of a prompt are not usable: {complaint}"
        return Finding("prompt_scores", "note", fact, data, _LOGLIKELIHOOD)
    return Finding("prompt_scores", "ok", f"prompts are scored: {len(scores)} tokens, the first one null", data)


def complaint_about(scores: list[float | None], prompt_tokens: int | None) -> str:
    """What is wrong with the scores of a prompt and perhaps one more token; empty: nothing."""
    numbers = [score for score in scores[1:] if score is not None]
    if prompt_tokens and len(scores) not in (prompt_tokens, prompt_tokens + 1):
        return f"{len(scores)} scores for {prompt_tokens} tokens"
    if scores[0] is not None:
        return "the first token has one, though nothing comes before it"
    if len(numbers) < len(scores) - 1:
        return "some tokens have none"
    if not all(math.isfinite(score) for score in numbers):
        return "some are not finite"
    return "all are the same" if len(set(numbers)) < 2 else ""


async def check_token_ids(asker: Asker, tokenizer: LocalTokenizer | None) -> Finding:
    """Prompts as token ids leave nothing to templates and special tokens."""
    ids = tokenizer.ids(SCORED, special=True) if tokenizer else _IDS
    body = {"model": asker.model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, **asker.sampling}
    answer = await asker.post("completions", body)
    data = {"status": answer.status, "sent": len(ids), "prompt_tokens": answer.prompt_tokens}
    if answer.status != 200:
        return Finding("token_ids", "note", f"prompts of token ids are not accepted: {_told(answer)}", data)
    if answer.prompt_tokens not in (None, len(ids)):
        fact = f"{len(ids)} token ids became {answer.prompt_tokens} tokens"
        return Finding("token_ids", "note", fact, data, "send texts instead")
    return Finding("token_ids", "ok", "prompts of token ids are accepted", data)


async def check_generate(asker: Asker) -> Finding:
    """LightLLM's own route, asked as its README does."""
    parameters = {"max_new_tokens": 17, "frequency_penalty": 1, "do_sample": False}
    answer = await asker.post("generate", {"inputs": "What is AI?", "parameters": parameters})
    if answer.status in NO_ROUTE:
        return Finding("generate", "ok", "there is no /generate", {"status": answer.status})
    data: dict[str, Any] = {"status": answer.status, "text": answer.text, "tokens": answer.completion_tokens}
    has_list = isinstance(answer.body, dict) and isinstance(answer.body.get("generated_text"), list)
    if answer.cause is None and has_list and (answer.completion_tokens or 0) <= 17:
        return Finding("generate", "ok", "/generate answers as LightLLM's does", data)
    fact = f"/generate does not answer as LightLLM's does: {_told(answer)}"
    return Finding("generate", "note", fact, data, "use the OpenAI routes")


def _logprobs(name: FindingName, form: Form, answer: Answer, found: object) -> Finding:
    if answer.status == 200 and found:
        return Finding(name, "ok", f"{form} gives log-probabilities", {"status": 200})
    return Finding(name, "note", f"{form} gives no log-probabilities: {_told(answer)}", {"status": answer.status})


def _told(answer: Answer) -> str:
    if answer.status in NO_ROUTE:
        return "there is no such route"
    return "they are ignored" if answer.status == 200 else f"HTTP {answer.status}: {answer.excerpt}"


def _choice(answer: Answer) -> dict[str, Any]:
    choices = answer.body.get("choices") if isinstance(answer.body, dict) else None
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _token_logprobs(answer: Answer) -> list[float | None]:
    found = _choice(answer).get("logprobs")
    scores = found.get("token_logprobs") if isinstance(found, dict) else None
    return list(scores) if isinstance(scores, list) else []
