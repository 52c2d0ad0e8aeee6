"""Is greedy decoding greedy? The same prompt again and again, alone and among others; and is anything said at all?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from clients.fidelity.asking import Answer, Asker
from clients.fidelity.prompts import PROMPTS
from clients.fidelity.report import Finding

TIMES = 3
"""How often a prompt is repeated alone."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Greedy answers that several checks look at."""

    alone: tuple[Answer, ...]
    """The first prompt, `TIMES` times, one after the other."""
    second: tuple[Answer, ...]
    """The second prompt likewise; empty unless the first one's answers differ."""
    batch: tuple[Answer, ...]
    """All prompts at the same time, in their order."""

    @property
    def longest(self) -> tuple[str, Answer]:
        """The prompt with the longest answer, and that answer alone if it was asked alone."""
        answers = (self.alone[0], *self.batch[1:])
        index = max(range(len(answers)), key=lambda n: len(answers[n].text))
        return PROMPTS[index], answers[index]


async def sample(asker: Asker) -> Samples:
    """Ask. Raises: httpx.HTTPError."""
    alone = [await asker.ask(PROMPTS[0]) for _ in range(TIMES)]
    again = range(TIMES) if _different(alone) else range(0)
    second = [await asker.ask(PROMPTS[1]) for _ in again]
    batch = await asyncio.gather(*(asker.ask(prompt) for prompt in PROMPTS))
    return Samples(tuple(alone), tuple(second), tuple(batch))


def check_answers(samples: Samples) -> Finding:
    """Empty answers are scored as wrong ones, or as right ones."""
    answers = (*samples.alone, *samples.batch)
    empty = sum(answer.cause == "empty_answer" for answer in answers)
    broken = sorted({answer.cause for answer in answers if answer.cause not in (None, "empty_answer")})
    data = {"asked": len(answers), "empty": empty, "causes": broken}
    if empty == len(answers):
        advice = "look at the engine's log; try another dtype, chat template or engine version"
        return Finding("answers", "falsifies", f"all {empty} answers are empty", data, advice)
    if broken:
        return Finding("answers", "unknown", f"some requests get no answer: {', '.join(map(str, broken))}", data)
    if empty:
        fact = f"{empty} of {len(answers)} answers are empty"
        return Finding("answers", "note", fact, data, "an empty answer counts as failed, never as wrong")
    return Finding("answers", "ok", f"{len(answers)} short answers, none empty", data)


def check_greedy_alone(samples: Samples) -> Finding:
    """Twice different is chance, not a tie between two tokens."""
    if any(answer.status != 200 for answer in (*samples.alone, *samples.second)):
        return Finding("greedy_alone", "unknown", "a prompt that was repeated got no answer")
    data = {"texts": [answer.text for answer in samples.alone], "second": [answer.text for answer in samples.second]}
    first = _different(samples.alone)
    if first is None:
        fact = f"the same prompt gets the same text {TIMES} times at temperature 0"
        return Finding("greedy_alone", "ok", fact, data)
    fact = f"the same prompt at temperature 0 gets different texts, from character {first} on"
    if _different(samples.second) is None:
        fact += "; another prompt does not: most likely a tie between two tokens"
        return Finding("greedy_alone", "note", fact, data, "expect small differences between two runs")
    advice = "decoding is not greedy: send top_k 1, or a seed, or turn off what samples in the engine"
    return Finding("greedy_alone", "falsifies", f"{fact}, and so does another one", data, advice)


def check_greedy_batch(samples: Samples) -> Finding:
    """Batches change the order of sums; that is arithmetic, and good to know when two runs are compared."""
    pair = (samples.alone[0], samples.batch[0])
    if any(answer.status != 200 for answer in pair):
        return Finding("greedy_batch", "unknown", "the prompt got no answer in a batch")
    data = {"alone": pair[0].text, "batch": pair[1].text}
    first = _different(pair)
    if first is None:
        return Finding("greedy_batch", "ok", f"the text is the same in a batch of {len(PROMPTS)}", data)
    fact = f"the text is another one in a batch of {len(PROMPTS)}, from character {first} on"
    return Finding("greedy_batch", "note", fact, data, "compare runs by paired tests, sample by sample")


def _different(answers: Sequence[Answer]) -> int | None:
    """First character, from 0, in which the texts differ; None: they are equal."""
    texts = {answer.text for answer in answers}
    if len(texts) < 2:
        return None
    columns = zip(*texts, strict=False)
    same = next((n for n, column in enumerate(columns) if len(set(column)) > 1), None)
    return min(map(len, texts)) if same is None else same
