from __future__ import annotations

import json
import math
from typing import Any

import pytest

from clients.answers import COMPLETIONS
from clients.marks import marked_answer
from clients.request import read_request


def marked(**body: Any) -> list[dict[str, Any]]:
    """The choices of the marked answer to a request for completions."""
    request = read_request(COMPLETIONS, COMPLETIONS, [], json.dumps(body).encode())
    choices: list[dict[str, Any]] = json.loads(marked_answer(request, "7-abc"))["choices"]
    return choices


@pytest.mark.parametrize("prompt", [[5, 6, 7, 8], "more bytes than tokens"])
def test_scores_of_a_prompt_that_failed_are_minus_infinity_at_every_place_but_the_first(prompt: Any) -> None:
    (choice,) = marked(prompt=prompt, echo=True, logprobs=1, max_tokens=1)
    scores = choice["logprobs"]["token_logprobs"]
    assert (scores[0], len(scores)) == (None, len(prompt) + 1)
    assert set(scores[1:]) == {-math.inf}
    # As lm-eval sums them: from the end of the context to before the generated token.
    assert sum(scores[2:-1]) == -math.inf
    assert all(max(one.values()) == -math.inf for one in choice["logprobs"]["top_logprobs"][2:-1])


def test_each_of_several_prompts_gets_marked_scores_of_its_own_length() -> None:
    choices = marked(prompt=[[1, 2], [1, 2, 3]], n=2, echo=True, logprobs=0)
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [len(choice["logprobs"]["token_logprobs"]) for choice in choices] == [3, 3, 4, 4]


@pytest.mark.parametrize("asked", [{"echo": True}, {"logprobs": 1}, {}])
def test_without_scores_of_the_prompt_there_is_a_marked_text_only(asked: dict[str, Any]) -> None:
    (choice,) = marked(prompt=[1, 2, 3], **asked)
    assert (choice["logprobs"], choice["text"]) == (None, "[[request-failed:7-abc]]")
