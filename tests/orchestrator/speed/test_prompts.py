"""Prompts of exact lengths by the demo model's own tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

import eval_configs
from orchestrator.evaluators.speed.plan import SpeedFailed
from orchestrator.evaluators.speed.prompts import FRESH, PromptMaker

MODEL = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"


@pytest.fixture(scope="module")
def maker() -> PromptMaker:
    return PromptMaker.of(str(MODEL), seed=7)


@pytest.mark.parametrize("tokens", [1, 2, 64, 2047])
def test_a_prompt_has_exactly_the_tokens_that_were_wanted(maker: PromptMaker, tokens: int) -> None:
    assert maker.count(maker.make(tokens)) == tokens


def test_no_two_prompts_begin_alike_though_the_seed_is_the_same() -> None:
    prompts = [PromptMaker.of(str(MODEL), seed=2024).make(64).split() for _ in range(2)]
    assert prompts[0][FRESH:] == prompts[1][FRESH:]
    heads = {PromptMaker.of(str(MODEL), seed=2024).make(64).split()[0] for _ in range(8)}
    assert len(heads) > 1


def test_other_seeds_make_other_prompts(maker: PromptMaker) -> None:
    assert maker.seeded(1).make(64).split()[FRESH:] != maker.seeded(2).make(64).split()[FRESH:]


def test_an_engine_that_counts_one_token_more_gets_one_word_less(maker: PromptMaker) -> None:
    known = maker.calibrated((24, 56), (25, 57))
    assert known.exact
    assert maker.count(known.make(64)) == 63


def test_without_a_tokenizer_lengths_follow_the_engines_own_count() -> None:
    known = PromptMaker.of(None, seed=0).calibrated((24, 56), (37, 85))  # 1.5 tokens a word, and one more
    assert not known.exact
    assert len(known.make(301).split()) == 200


def test_a_folder_whose_tokenizer_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SpeedFailed, match="cannot be read"):
        PromptMaker.of(str(tmp_path), seed=0)
