from __future__ import annotations

import math
from pathlib import Path

from orchestrator.fake_engine.logprobs import scored
from tests.orchestrator.test_fake_engine import CHAT, ready


def test_log_probabilities_are_refused_unless_the_engine_gives_them(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hello"}], "logprobs": True, "top_logprobs": 3}
    with ready(tmp_path) as plain:
        assert plain.ask(CHAT, chat)[0] == 400
    with ready(tmp_path, "--logprobs") as giving:
        (choice,) = giving.ask(CHAT, chat)[1]["choices"]
        (text,) = giving.ask("/v1/completions", {"prompt": "hello", "logprobs": 2})[1]["choices"]
        (none,) = giving.ask("/v1/completions", {"prompt": "hello"})[1]["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        likely = [other["logprob"] for other in token["top_logprobs"]]
        assert likely == sorted(likely, reverse=True)
        assert sum(map(math.exp, likely)) <= 1
        assert token["token"] in [other["token"] for other in token["top_logprobs"]]
    starts = text["logprobs"]["text_offset"]
    assert all(text["text"][start:].startswith(t) for start, t in zip(starts, text["logprobs"]["tokens"], strict=True))
    assert len(text["logprobs"]["token_logprobs"]) == len(starts) == len(text["logprobs"]["top_logprobs"])
    assert none["logprobs"] is None


def test_a_prompt_comes_back_with_its_scores_when_echo_asks_for_them(tmp_path: Path) -> None:
    with ready(tmp_path, "--logprobs") as giving:
        asked = {"prompt": "the heron waits", "echo": True, "logprobs": 1, "max_tokens": 1}
        status, answer = giving.ask("/v1/completions", asked)
        assert giving.ask(CHAT, {"messages": [{"role": "user", "content": "hello"}], "echo": True})[0] == 400
    (choice,) = answer["choices"]
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 3)
    assert choice["text"].startswith("the heron waits")
    first, *rest = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert rest[:2] == [scored(" heron")[1], scored(" waits")[1]]
    assert len(rest) == 3
