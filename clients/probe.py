"""The smoke test: one real generation over HTTP, with every sampling field that matters said explicitly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import orjson

from clients.answers import CHAT, COMPLETIONS, GENERATE, judge
from clients.errors import ProbeFailed

Api = Literal["auto", "chat", "completions", "generate"]

PATHS = {"chat": CHAT, "completions": COMPLETIONS, "generate": GENERATE}


@dataclass(frozen=True, slots=True)
class Generation:
    """What came back."""

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    api: str
    """`chat`, `completions` or `generate`: what the server turned out to have."""


async def generate(
    base_url: str,
    *,
    model: str,
    prompt: str,
    max_tokens: int,
    timeout: float,
    api: Api = "auto",
    headers: Mapping[str, str] | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Generation:
    """Generate once, greedily unless `sampling` says otherwise; `timeout` in seconds for the whole answer.

    `base_url` is without `/v1`. `auto` tries chat, then completions where there is no such route (404, 405),
    then LightLLM's `/generate`. Raises `ProbeFailed` with what came back.
    """
    started = time.monotonic()
    tls = base_url.startswith("https:")  # to set TLS up takes 0.1 s of CPU, during which the gateway would stand still
    async with httpx.AsyncClient(trust_env=False, verify=tls, timeout=timeout, headers=headers) as http:
        for name in ("chat", "completions", "generate") if api == "auto" else (api,):
            body = request_body(name, model, prompt, max_tokens, sampling or {})
            answer = await _post(http, base_url.rstrip("/") + PATHS[name], body, timeout)
            if answer.status_code not in (404, 405):
                break
    verdict = judge(PATHS[name], body, answer.status_code, answer.content)
    if verdict.cause is not None:
        raise _failed(answer, verdict.cause)
    text, finish_reason = text_of(name, orjson.loads(answer.content))
    prompt_tokens, completion_tokens = verdict.tokens or (None, None)
    return Generation(text, finish_reason, prompt_tokens, completion_tokens, time.monotonic() - started, name)


async def _post(http: httpx.AsyncClient, url: str, body: dict[str, Any], timeout: float) -> httpx.Response:
    try:
        async with asyncio.timeout(timeout):
            return await http.post(url, json=body)
    except (TimeoutError, httpx.TimeoutException):
        raise ProbeFailed(
            f"{url} gave no generation within {timeout:g} s",
            hint="the first generation may compile: raise probe.timeout if the engine's log shows progress",
        ) from None
    except httpx.HTTPError as error:
        told = str(error) or type(error).__name__
        raise ProbeFailed(f"{url} broke off: {told}", hint="see the engine's log") from error


def request_body(api: str, model: str, prompt: str, max_tokens: int, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """A greedy request in the form of `api`; fields of `sampling` replace its own."""
    if api == "generate":
        return {
            "inputs": prompt,
            "parameters": {"max_new_tokens": max_tokens, "do_sample": False, "temperature": 1.0, **sampling},
        }
    asked = {"messages": [{"role": "user", "content": prompt}]} if api == "chat" else {"prompt": prompt}
    greedy = {"max_tokens": max_tokens, "temperature": 0.0, "stream": False}
    return {"model": model, **asked, **greedy, **sampling}


def text_of(api: str, answer: Any) -> tuple[str, str | None]:
    """Text and finish reason of an answer, its reasoning where it has no other text."""
    if api == "generate":
        texts = answer.get("generated_text", answer.get("text"))
        return (texts[0] if isinstance(texts, list) else texts), answer.get("finish_reason")
    choice = answer["choices"][0]
    if api == "completions":
        return choice["text"], choice.get("finish_reason")
    message = choice["message"]
    names = ("content", "reasoning", "reasoning_content")
    said = next((message[name] for name in names if message.get(name)), "")
    return said if isinstance(said, str) else str(said), choice.get("finish_reason")


def _failed(answer: httpx.Response, cause: str) -> ProbeFailed:
    if answer.text.startswith("data:"):
        return ProbeFailed(
            f"{answer.request.url} answers with a stream although none was asked for, as `transformers serve` 4 does",
            hint="evaluators cannot read that; install a newer version of the engine",
        )
    return ProbeFailed(
        f"{answer.request.url} gave no generation ({cause}): HTTP {answer.status_code}: {answer.text[:300]}",
        hint="see the engine's log",
    )
