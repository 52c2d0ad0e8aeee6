"""Token counts: what the model's own folder says, and what a difference means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clients.errors import TokenizerUnusable
from clients.fidelity.scoring import complaint_about
from clients.fidelity.tokenizer import load_tokenizer
from tests.clients.fidelity_support import PLAIN, fake_engine, finding, probed, saying, word_model
from tests.clients.scripted_engine import engine

USER = [{"role": "user", "content": "two words"}]
WITH_BOS = "{{ bos_token }} " + PLAIN
WORDY = PLAIN + "and that is all"
NO_SYSTEM = PLAIN.replace("in messages", "in messages if message['role'] != 'system'")
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + PLAIN
THINKS = PLAIN + "{% if enable_thinking is defined and enable_thinking %} think {% endif %}"


@pytest.mark.parametrize(
    ("template", "bos", "flags", "verdict", "told"),
    [
        (WITH_BOS, True, ["--extra-bos"], "ok", "3 prompts"),
        (WITH_BOS, True, [], "falsifies", "the begin-of-text token is missing"),
        (PLAIN, True, ["--extra-bos"], "falsifies", "the begin-of-text token is there twice"),
        (PLAIN, False, ["--extra-bos"], "falsifies", "every prompt has one token more"),
        (WORDY, False, [], "falsifies", "every prompt has 4 tokens less: another chat template"),
        (NO_SYSTEM, False, [], "falsifies", "only the system turn is templated differently"),
        (REFUSES_SYSTEM, False, [], "ok", "2 prompts"),
        (THINKS, False, ["--extra-bos"], "note", "turns thinking on"),
        ("{{ nothing.at.all }}", False, [], "unknown", "the chat template refuses"),
    ],
)
async def test_a_difference_in_token_counts_is_explained(
    tmp_path: Path, template: str, bos: bool, flags: list[str], verdict: str, told: str
) -> None:
    async with fake_engine(*flags) as url:
        checked = await probed(url, word_model(tmp_path, template, bos=bos))
    found = finding(checked, "prompt_tokens")
    assert (found.verdict, told in found.fact) == (verdict, True), found


async def test_plain_prompts_without_their_special_token_falsify_only_where_they_are_used(tmp_path: Path) -> None:
    folder = word_model(tmp_path, bos=True)
    async with fake_engine() as url:
        chat = finding(await probed(url, folder, api="chat"), "prompt_tokens_completions")
        plain = finding(await probed(url, folder, api="completions"), "prompt_tokens")
    assert (chat.verdict, plain.verdict) == ("note", "falsifies")
    assert chat.fact == plain.fact
    assert "missing" in plain.fact


async def test_an_engine_that_counts_nothing_is_unknown(tmp_path: Path) -> None:
    async with engine(saying(lambda body: "a text without usage")) as server:
        checked = await probed(f"http://127.0.0.1:{server.port}", word_model(tmp_path), api="chat")
    assert finding(checked, "prompt_tokens").verdict == "unknown"
    assert checked.falsifying == ()


async def test_a_template_of_the_job_replaces_that_of_the_model(tmp_path: Path) -> None:
    file = tmp_path / "other.jinja"
    file.write_text(WORDY)
    async with fake_engine() as url:
        checked = await probed(url, word_model(tmp_path / "model"), chat_template=file)
    assert finding(checked, "prompt_tokens").verdict == "falsifies"


def test_templates_have_what_they_have_elsewhere(tmp_path: Path) -> None:
    template = (
        "{{ bos_token }}{{ strftime_now('%Y') | length }}\n"
        "  {% for message in messages %}\n"
        "{% if loop.first %}{% generation %}{{ {'a': '<é>'} | tojson }}{% endgeneration %}{% break %}{% endif %}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}!{% endif %}"
    )
    folder = word_model(tmp_path, template, config={"bos_token": {"content": "<s>", "lstrip": False}})
    assert load_tokenizer(folder).render(USER) == '<s>4\n{"a": "<é>"}!'
    assert load_tokenizer(folder).render(USER, add_generation_prompt=False) == '<s>4\n{"a": "<é>"}'


def test_a_template_cannot_reach_what_is_outside(tmp_path: Path) -> None:
    folder = word_model(tmp_path, "{{ messages.__class__.__mro__ }}{{ messages.append(1) }}")
    with pytest.raises(TokenizerUnusable, match="refuses"):
        load_tokenizer(folder).render(USER)


@pytest.mark.parametrize(
    ("config", "file", "expected"),
    [
        ({}, None, "two words\n"),
        ({}, "from a file", "from a file"),
        ({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}, None, "D"),
    ],
)
def test_the_chat_template_is_found_where_models_keep_it(
    tmp_path: Path, config: dict[str, Any], file: str | None, expected: str
) -> None:
    folder = word_model(tmp_path, config=config)
    if file:
        (folder / "chat_template.jinja").write_text(file)
    assert load_tokenizer(folder).render(USER) == expected


@pytest.mark.parametrize("content", [None, "{}", "not JSON"])
def test_a_tokenizer_that_cannot_be_used_says_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerUnusable, match="tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("scores", "tokens", "complaint"),
    [
        ([None, -1.0, -2.0], 3, ""),
        ([None, -1.0, -2.0, -0.5], 3, ""),  # and one generated token
        ([None, -1.0, -3.0], None, ""),
        ([-0.1], 12, "1 scores for 12 tokens"),  # llama.cpp: only what it generated
        ([-0.1, -1.0, -2.0], 3, "the first token has one"),
        ([None, None, None], 3, "some tokens have none"),  # LightLLM
        ([None, float("-inf"), -1.0], 3, "not finite"),
        ([None, 0.0, 0.0, 0.0], 4, "all are the same"),
    ],
)
def test_scores_of_a_prompt_are_looked_at(scores: list[float | None], tokens: int | None, complaint: str) -> None:
    found = complaint_about(scores, tokens)
    assert complaint in found
    assert bool(found) == bool(complaint)
