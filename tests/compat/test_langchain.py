"""Unmodified LangChain against the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.fake_engine.answers import made_up, tokens_of
from tests.compat.support import script, served

pytestmark = pytest.mark.real


async def test_langchain_gets_answers_batches_streams_and_log_probabilities(clients_python: Path) -> None:
    async with served("--logprobs") as gateway:
        got = await script(clients_python, "langchain_chat", gateway.url)
        assert (gateway.ledger.asked, gateway.ledger.failed) == (11, 0)
    asked = "Be brief.\nquestion 0"
    assert got["answer"] == made_up(asked)
    assert got["usage"] == len(tokens_of(asked)) + len(tokens_of(made_up(asked)))
    assert got["batch"] == [made_up(f"question {n}") for n in range(8)]
    assert got["streamed"] == made_up("question 0")
    assert got["tokens"] == len(tokens_of(made_up("question 0")))
