"""The fidelity probe on real servers: a faithful one, and ones that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clients.fidelity import Fidelity, Finding, falsified
from clients.fidelity.report import ORDER
from clients.fidelity.stopping import stop_within
from tests.clients.fidelity_support import fake_engine, finding, probed, saying, word_model
from tests.clients.scripted_engine import engine, free_port, silent


async def test_a_faithful_engine_has_every_finding_and_none_that_falsifies(tmp_path: Path) -> None:
    async with fake_engine("--max-model-len", "400") as url:
        checked = await probed(url, word_model(tmp_path))
    assert tuple(one.name for one in checked.findings) == ORDER
    assert checked.falsifying == ()
    judged = ("answers", "prompt_tokens", "greedy_alone", "greedy_batch", "max_tokens", "stop_strings", "over_long")
    assert {name: finding(checked, name).verdict for name in judged} == dict.fromkeys(judged, "ok")
    assert 0 < checked.seconds < 30


@pytest.mark.parametrize(
    ("flags", "name", "verdict", "data"),
    [
        (["--ignore-max-tokens"], "max_tokens", "falsifies", {}),
        (["--nondeterministic"], "greedy_alone", "falsifies", {}),
        (["--nondeterministic"], "generation_config", "unknown", {}),
        (["--empty-rate", "1"], "answers", "falsifies", {"asked": 11, "empty": 11}),
        (["--empty-prompts", "0.5"], "answers", "note", {}),
        (["--extra-bos"], "prompt_tokens", "falsifies", {}),
        (["--ignore-stop"], "stop_strings", "note", {"effect": "ignored"}),
        (["--one-token-stops"], "stop_strings", "note", {"effect": "ignored"}),
        (["--keep-stop"], "stop_strings", "note", {"effect": "kept"}),
        (["--max-model-len", "300", "--answer-overlong"], "over_long", "note", {"context": 300, "status": 200}),
        ([], "over_long", "unknown", {}),
        ([], "generate", "ok", {"status": 200}),
        ([], "token_ids", "ok", {"status": 200}),
        ([], "temperature", "note", {}),
        ([], "logprobs_chat", "note", {"status": 400}),
        ([], "prompt_scores", "note", {}),
    ],
)
async def test_a_planted_defect_is_found(
    tmp_path: Path, flags: list[str], name: str, verdict: str, data: dict[str, Any]
) -> None:
    async with fake_engine(*flags) as url:
        checked = await probed(url, word_model(tmp_path))
    found = finding(checked, name)
    assert (found.verdict, data | found.data) == (verdict, found.data), found
    if verdict == "falsifies":
        assert [one.name for one in checked.falsifying] == [name]
        assert found.advice


async def test_without_a_tokenizer_token_counts_are_unknown_and_nothing_falsifies() -> None:
    async with fake_engine("--extra-bos") as url:
        checked = await probed(url)
    assert finding(checked, "prompt_tokens").verdict == "unknown"
    assert checked.falsifying == ()


@pytest.mark.parametrize("flags", [["--error-rate", "1"], ["--reset-rate", "1"], ["--truncate-rate", "1"]])
async def test_an_engine_that_fails_is_unknown_not_falsifying(tmp_path: Path, flags: list[str]) -> None:
    async with fake_engine(*flags) as url:
        checked = await probed(url, word_model(tmp_path))
    assert checked.falsifying == ()
    assert finding(checked, "answers").verdict == "unknown"


async def test_an_engine_that_hangs_costs_the_time_limit_and_no_more() -> None:
    async with engine(silent) as server:
        checked = await probed(f"http://127.0.0.1:{server.port}", timeout=0.5)
    assert 0.5 <= checked.seconds < 20
    assert {one.verdict for one in checked.findings} == {"unknown"}
    assert "too long" in finding(checked, "answers").fact


async def test_a_server_that_is_gone_is_unknown() -> None:
    checked = await probed(f"http://127.0.0.1:{free_port()}")
    assert {one.verdict for one in checked.findings} == {"unknown"}


async def test_the_api_that_the_server_has_is_found() -> None:
    async with engine(saying(lambda body: "one two three four five" if "prompt" in body else 404)) as server:
        checked = await probed(f"http://127.0.0.1:{server.port}")
    assert finding(checked, "greedy_alone").verdict == "ok"
    assert "no such route" in finding(checked, "logprobs_chat").fact


async def test_one_prompt_that_differs_is_a_tie_two_are_chance() -> None:
    times = {"apples": 0}

    def text(body: dict[str, Any]) -> str:
        prompt = str(body)
        times["apples"] += "apples" in prompt
        return f"the answer {times['apples']} of many" if "apples" in prompt else "always the same answer"

    async with engine(saying(text)) as server:
        checked = await probed(f"http://127.0.0.1:{server.port}", api="chat")
    alone = finding(checked, "greedy_alone")
    assert (alone.verdict, "from character 11" in alone.fact) == ("note", True)
    assert checked.falsifying == ()


async def test_a_temperature_that_samples_is_ok_and_one_that_changes_nothing_is_noted() -> None:
    async with engine(saying(lambda body: f"text of seed {body.get('seed')} and more")) as server:
        samples = await probed(f"http://127.0.0.1:{server.port}", api="chat")
    async with engine(saying(lambda body: "always the same text")) as server:
        greedy = await probed(f"http://127.0.0.1:{server.port}", api="chat")
    assert (finding(samples, "temperature").verdict, finding(greedy, "temperature").verdict) == ("ok", "note")


@pytest.mark.parametrize(
    ("explicit", "silent_text", "verdict"),
    [("sun sun sun", "sun sun moon", "note"), ("sun sun sun", "sun sun sun", "ok"), (422, "sun sun sun", "note")],
)
async def test_a_repetition_penalty_that_nobody_asked_for_is_noted(
    explicit: str | int, silent_text: str, verdict: str
) -> None:
    async with engine(saying(lambda body: explicit if "repetition_penalty" in body else silent_text)) as server:
        checked = await probed(f"http://127.0.0.1:{server.port}", api="chat")
    assert finding(checked, "generation_config").verdict == verdict


async def test_sampling_fields_go_with_every_request_but_those_that_ask_what_they_do() -> None:
    async with engine(saying(lambda body: "some text of a model")) as server:
        await probed(f"http://127.0.0.1:{server.port}", api="chat", sampling={"top_k": 1})
    bodies = [asked.json for asked in server.asked if asked.path == "/v1/chat/completions"]
    bare = [body for body in bodies if "top_k" not in body]
    assert len(bodies) > 2 * len(bare)
    assert all(body["temperature"] > 0 or "Repeat" in str(body["messages"]) for body in bare)


def test_what_is_tolerated_does_not_stop_and_what_stops_says_what_to_do() -> None:
    found = Finding("greedy_alone", "falsifies", "texts differ", {}, "send top_k 1")
    checked = Fidelity((found, Finding("stop_strings", "note", "kept")), 1.0)
    assert checked.stopping([]) == (found,)
    assert checked.stopping(["greedy_alone"]) == ()
    error = falsified((found,))
    assert (error.code, "greedy_alone: texts differ" in error.message) == ("probe_failed", True)
    assert "send top_k 1" in error.hint
    assert "tolerate: [greedy_alone]" in error.hint


@pytest.mark.parametrize(
    "text", ["one two three four five", "a a a a a a a a b c d e f", "Antwort: 12 + 30 = 42 Äpfel"]
)
def test_a_stop_string_is_taken_from_the_middle_where_it_comes_first(text: str) -> None:
    stop = stop_within(text)
    assert stop
    begin = text.find(stop)
    assert text[:begin].strip()
    assert text[begin + len(stop) :].strip()


def test_a_text_that_is_too_short_or_repeats_itself_gives_no_stop_string() -> None:
    assert stop_within("42") is None
    assert stop_within("aaaaaaaaaaaaaaaaaaaaaaaaaaaa") is None
