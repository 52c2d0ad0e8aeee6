"""Does the engine see the prompt that the model was trained on? Its token counts against the model's own tokenizer.

A begin-of-text token that is doubled or missing, another chat template, a lost system turn: each changes every answer,
and none of them shows in a status code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clients.errors import TokenizerUnusable
from clients.fidelity.asking import NO_ROUTE, Asker, Form
from clients.fidelity.prompts import COUNTED, SYSTEM
from clients.fidelity.report import Finding, FindingName, Verdict
from clients.fidelity.tokenizer import LocalTokenizer, Message

_TEMPLATE = "serve with the model's own chat template (serve.chat_template), or an engine version that reads it"
_REASONS: Mapping[str, tuple[Verdict, str, str]] = {
    "special_tokens": (
        "falsifies",
        "special tokens are added to a prompt that has them already: the begin-of-text token is there twice",
        "use a chat template without it, or an engine version that adds none to templated prompts",
    ),
    "no_special_tokens": (
        "falsifies",
        "no special tokens are added to a plain prompt: the begin-of-text token is missing",
        "put it into the prompts, use the chat API, or send token ids",
    ),
    "no_generation_prompt": (
        "falsifies",
        "the prompt ends without the turn of the assistant",
        "let the engine add the generation prompt (add_generation_prompt)",
    ),
    "thinking_off": ("note", "the engine turns thinking off", "say so in the report, or turn it on in the request"),
    "thinking_on": ("note", "the engine turns thinking on", "say so in the report, or turn it off in the request"),
}


@dataclass(frozen=True, slots=True)
class Count:
    """One prompt as both sides count it."""

    what: str
    messages: tuple[Message, ...]
    served: int | None
    expected: int
    variants: Mapping[str, int]
    """What it would be if this were the engine's mistake: name in `_REASONS` -> tokens."""


async def check_prompt_tokens(asker: Asker, tokenizer: LocalTokenizer | None) -> Finding:
    """Count over the API in use, which every answer depends on."""
    return await _check("prompt_tokens", asker, asker.form, tokenizer)


async def check_completions_tokens(asker: Asker, tokenizer: LocalTokenizer | None) -> Finding:
    """Count over `/v1/completions`, which nobody uses now: what is wrong there is good to know."""
    found = await _check("prompt_tokens_completions", asker, "completions", tokenizer)
    return Finding(found.name, "note", found.fact, found.data, found.advice) if found.verdict == "falsifies" else found


def explain(name: FindingName, counts: Sequence[Count], bos: bool) -> Finding:
    """What equal or different counts mean. `bos`: the tokenizer has a begin-of-text token."""
    data = {"counts": [{"prompt": one.what, "engine": one.served, "expected": one.expected} for one in counts]}
    if not counts or any(one.served is None for one in counts):
        return Finding(name, "unknown", "the engine does not say how many tokens a prompt has", data)
    off = [(one.served or 0) - one.expected for one in counts]
    if not any(off):
        fact = f"{len(counts)} prompts have as many tokens as the model's own tokenizer and template make"
        return Finding(name, "ok", fact, data)
    for reason in counts[0].variants:
        if all(one.served == one.variants.get(reason) for one in counts):
            verdict, fact, advice = _REASONS[reason]
            return Finding(name, verdict, fact, data, advice)
    return Finding(name, "falsifies", _drift(off, [one.what for one in counts], bos), data, _TEMPLATE)


async def _check(name: FindingName, asker: Asker, form: Form, tokenizer: LocalTokenizer | None) -> Finding:
    if tokenizer is None:
        return Finding(name, "unknown", "there is no local tokenizer to count with")
    counts = []
    try:
        for one in _chat(tokenizer) if form == "chat" else _plain(tokenizer, form):
            fields: dict[str, Any] = {"messages": list(one.messages)} if form == "chat" else {}
            answer = await asker.ask(one.messages[-1]["content"], form=form, max_tokens=1, **fields)
            if answer.status in NO_ROUTE:
                return Finding(name, "ok", f"there is no API for {form} that could count wrongly")
            if answer.status != 200:
                fact = f"a prompt ({one.what}) is refused: HTTP {answer.status}: {answer.excerpt}"
                return Finding(name, "unknown", fact)
            counts.append(Count(one.what, one.messages, answer.prompt_tokens, one.expected, one.variants))
    except TokenizerUnusable as error:
        return Finding(name, "unknown", error.message)
    return explain(name, counts, "bos_token" in tokenizer.special)


def _chat(tokenizer: LocalTokenizer) -> list[Count]:
    users = [({"role": "user", "content": text},) for text in COUNTED]
    counts = [_templated(tokenizer, f"turn {n}", one) for n, one in enumerate(users, 1)]
    try:
        both = ({"role": "system", "content": SYSTEM}, *users[0])
        return [*counts, _templated(tokenizer, "system turn", both)]
    except TokenizerUnusable:  # templates may refuse a system turn
        return counts


def _templated(tokenizer: LocalTokenizer, what: str, messages: tuple[Message, ...]) -> Count:
    def count(*, special: bool = False, **more: Any) -> int:
        return tokenizer.count(tokenizer.render(messages, **more), special=special)

    variants = {
        "special_tokens": count(special=True),
        "no_generation_prompt": count(add_generation_prompt=False),
        "thinking_off": count(enable_thinking=False),
        "thinking_on": count(enable_thinking=True),
    }
    return Count(what, messages, None, count(), variants)


def _plain(tokenizer: LocalTokenizer, form: Form) -> list[Count]:
    def count(what: str, text: str) -> Count:
        bare = tokenizer.count(text, special=False)
        messages = ({"role": "user", "content": text},)
        return Count(what, messages, None, tokenizer.count(text, special=True), {"no_special_tokens": bare})

    return [count(f"{form} {n}", text) for n, text in enumerate(COUNTED, 1)]


def _drift(off: Sequence[int], names: Sequence[str], bos: bool) -> str:
    if set(off) in ({1}, {-1}):
        more = off[0] > 0
        if bos:
            return f"every prompt has one token {'more' if more else 'less'}: the begin-of-text token is " + (
                "there twice" if more else "missing"
            )
        return f"every prompt has one token {'more' if more else 'less'} than the model's own template makes"
    if len(set(off)) == 1:
        return f"every prompt has {abs(off[0])} tokens {'more' if off[0] > 0 else 'less'}: another chat template"
    wrong = ", ".join(f"{name} {one:+d}" for name, one in zip(names, off, strict=True) if one)
    if not any(off[:-1]) and names[-1] == "system turn":
        return f"only the system turn is templated differently ({wrong} tokens)"
    return (
        f"prompts differ from the model's own by different numbers of tokens ({wrong}): another template or tokenizer"
    )
