"""The whole probe: every check in its turn, within one time limit, none able to end another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from clients.errors import TokenizerUnusable
from clients.fidelity.asking import NO_ROUTE, Asker, Form
from clients.fidelity.counting import check_completions_tokens, check_prompt_tokens
from clients.fidelity.greedy import Samples, check_answers, check_greedy_alone, check_greedy_batch, sample
from clients.fidelity.limits import check_max_tokens, check_over_long
from clients.fidelity.prompts import PROMPTS
from clients.fidelity.report import ORDER, Fidelity, Finding, FindingName
from clients.fidelity.sampling import check_generation_config, check_temperature
from clients.fidelity.scoring import (
    check_generate,
    check_logprobs_chat,
    check_logprobs_completions,
    check_prompt_scores,
    check_token_ids,
)
from clients.fidelity.stopping import check_stop_strings
from clients.fidelity.tokenizer import LocalTokenizer, load_tokenizer
from clients.probe import Api

_FORMS: tuple[Form, ...] = ("chat", "completions", "generate")


async def fidelity(
    base_url: str,
    *,
    model: str,
    tokenizer: Path | None = None,
    api: Api = "auto",
    sampling: Mapping[str, Any] | None = None,
    timeout: float = 120.0,
    chat_template: Path | None = None,
    context: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fidelity:
    """Check one engine at `base_url` (without `/v1`), which must have nothing else to do meanwhile.

    `tokenizer` is the model's folder (tokenizer, template, config), `chat_template` a file that replaces its own
    template, `context` the longest prompt in tokens (default: what the server lists, else the model's config).
    `sampling` are fields that go with every request; `timeout` seconds are for all checks together. Never raises
    because of what the engine does: what cannot be found out is `unknown`.
    """
    began = time.monotonic()
    tls = base_url.startswith("https:")  # to set TLS up takes 0.1 s of CPU, during which the gateway would stand still
    fresh = httpx.Limits(max_keepalive_connections=0)  # engines close kept ones at will, after an error for one
    async with httpx.AsyncClient(trust_env=False, verify=tls, timeout=None, headers=headers, limits=fresh) as http:
        asker = Asker(http, base_url.rstrip("/"), model, "chat", sampling or {})
        probe = _Probe(asker, began + timeout)
        await probe.run(tokenizer, api, chat_template, context)
    findings = sorted(probe.findings, key=lambda finding: ORDER.index(finding.name))
    return Fidelity(tuple(findings), round(time.monotonic() - began, 2))


class _Probe:
    """The findings so far, and until when there may be more."""

    def __init__(self, asker: Asker, deadline: float) -> None:
        self.findings: list[Finding] = []
        self._asker = asker
        self._deadline = deadline

    async def run(self, folder: Path | None, api: Api, chat_template: Path | None, context: int | None) -> None:
        """First the checks that want the engine to themselves, then the others together, then the costly one."""
        tokenizer = await asyncio.to_thread(_loaded, folder, chat_template)
        samples = await self._sampled(api)
        asker = self._asker
        if samples:
            self.findings += [check_answers(samples), check_greedy_alone(samples), check_greedy_batch(samples)]
            await self._add("max_tokens", check_max_tokens(asker, samples))
            await self._add("stop_strings", check_stop_strings(asker, samples))
            await self._add("temperature", check_temperature(asker, samples))
            await self._add("generation_config", check_generation_config(asker))
        await asyncio.gather(*(self._add(name, check) for name, check in _others(asker, tokenizer).items()))
        left = self._left()
        await self._add("over_long", check_over_long(asker, tokenizer, folder, context, left))

    async def _sampled(self, api: Api) -> Samples | None:
        """Greedy answers over the API that the server has; None, with the finding that says why, if there are none."""
        try:
            async with asyncio.timeout(self._left()):
                self._asker = replace(self._asker, form=await _form(self._asker) if api == "auto" else api)
                return await sample(self._asker)
        except (TimeoutError, httpx.HTTPError) as error:
            self.findings.append(_unknown("answers", error))
            return None

    async def _add(self, name: FindingName, check: Awaitable[Finding]) -> None:
        try:
            async with asyncio.timeout(self._left()):
                self.findings.append(await check)
        except (TimeoutError, httpx.HTTPError) as error:
            self.findings.append(_unknown(name, error))

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


def _others(asker: Asker, tokenizer: LocalTokenizer | None) -> dict[FindingName, Awaitable[Finding]]:
    checks: dict[FindingName, Awaitable[Finding]] = {
        "prompt_tokens": check_prompt_tokens(asker, tokenizer),
        "logprobs_chat": check_logprobs_chat(asker),
        "logprobs_completions": check_logprobs_completions(asker),
        "prompt_scores": check_prompt_scores(asker),
        "token_ids": check_token_ids(asker, tokenizer),
        "generate": check_generate(asker),
    }
    if asker.form != "completions":
        checks["prompt_tokens_completions"] = check_completions_tokens(asker, tokenizer)
    return checks


async def _form(asker: Asker) -> Form:
    """The first API that the server has; the request also warms it up."""
    for form in _FORMS:
        if (await asker.ask(PROMPTS[0], form=form, max_tokens=1)).status not in NO_ROUTE:
            return form
    return "chat"


def _loaded(folder: Path | None, chat_template: Path | None) -> LocalTokenizer | None:
    try:
        return load_tokenizer(folder, chat_template) if folder else None
    except TokenizerUnusable:
        return None


def _unknown(name: FindingName, error: Exception) -> Finding:
    """An engine that hangs or breaks off says nothing about its answers: others watch whether it lives."""
    told = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return Finding(name, "unknown", f"could not be found out: {told}")
