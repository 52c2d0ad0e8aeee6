"""The texts of the fake engine: planted answers where a prompt holds a known question, else made up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from orchestrator.fake_engine.faults import share

_WORDS = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron"),
    *("inlet", "juniper", "kelp", "linden", "meadow", "north", "opal", "pine"),
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_TOKEN = re.compile(r"\s*\S+")


class AnswersError(Exception):
    """The file of answers cannot be used; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class AnswerBook:
    """Known questions and what is answered to them."""

    rows: Mapping[str, str] = field(default_factory=dict)
    """Question -> the text to answer."""
    key_length: int = 0
    """Characters of a question that `index` goes by: at most as many as the shortest question has."""
    index: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """First `key_length` characters -> the questions that start with them, longest first."""

    def find(self, prompt: str) -> str | None:
        """The answer to the last known question in `prompt` (others are examples); None: none is known."""
        if not self.rows:
            return None
        for start in range(len(prompt) - self.key_length, -1, -1):
            for question in self.index.get(prompt[start : start + self.key_length], ()):
                if prompt.startswith(question, start):
                    return self.rows[question]
        return None


def read_book(path: Path, *, wrong_rate: float, seed: int) -> AnswerBook:
    """Read JSON lines with `question` and `answer`; a share of them gets a wrong number.

    Raises: AnswersError.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise AnswersError(f"cannot read {path}: {error.strerror}") from error
    rows = dict(_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not rows:
        raise AnswersError(f"{path} holds no rows")
    return book_of(
        (question, wrong(answer, question) if share(seed, "wrong", question) < wrong_rate else answer)
        for question, answer in rows.items()
    )


def book_of(pairs: Iterable[tuple[str, str]]) -> AnswerBook:
    """An indexed book of (question, answer)."""
    rows = dict(pairs)
    length = min(16, *map(len, rows), 16) if rows else 0
    index: dict[str, list[str]] = {}
    for question in sorted(rows, key=len, reverse=True):
        index.setdefault(question[:length], []).append(question)
    return AnswerBook(rows, length, {key: tuple(questions) for key, questions in index.items()})


def wrong(answer: str, question: str) -> str:
    """`answer` with another last number: what graders of arithmetic look at."""
    numbers = list(_NUMBER.finditer(answer))
    if not numbers:
        return "I do not know."
    last = numbers[-1]
    other = int(float(last.group().replace(",", ""))) + 1 + int(share(0, "offset", question) * 8)
    return f"{answer[: last.start()]}{other}{answer[last.end() :]}"


def made_up(prompt: str) -> str:
    """A text of 9 to 24 words that depends on the prompt alone and ends in a number."""
    length = 8 + int(share(0, "length", prompt) * 16)
    start, step = int(share(0, "start", prompt) * 16), 1 + 2 * int(share(0, "step", prompt) * 8)
    words = (_WORDS[(start + step * position) % len(_WORDS)] for position in range(length))
    return f"{' '.join(words)} {int(share(0, 'number', prompt) * 1000)}"


def tokens_of(text: str) -> list[str]:
    """The whitespace tokens of `text`, each with the space before it: joined they give the text back."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a request wants its text to end."""

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    """Go on until `max_tokens`, as load tests ask for."""
    keep_stop: bool = False
    """End with the stop string instead of before it."""


@dataclass(frozen=True, slots=True)
class Text:
    """One generated text."""

    tokens: tuple[str, ...]
    finish_reason: str
    """`stop` or `length`."""

    @property
    def whole(self) -> str:
        """The text."""
        return "".join(self.tokens)


def limited(text: str, limits: Limits) -> Text:
    """`text` cut at the first stop string, then at `max_tokens`."""
    found = [(text.find(stop), len(stop) if limits.keep_stop else 0) for stop in limits.stop if stop]
    cuts = [start + kept for start, kept in found if start >= 0]
    tokens = tokens_of(text[: min(cuts)] if cuts else text)
    most = limits.max_tokens
    if most is not None and limits.ignore_eos and not cuts and tokens:
        tokens = [*tokens, *(f" {tokens[i % len(tokens)].strip()}" for i in range(most - len(tokens)))]
    if most is not None and (len(tokens) > most or (limits.ignore_eos and not cuts)):
        return Text(tuple(tokens[:most]), "length")
    return Text(tuple(tokens), "stop")


def _row(path: Path, number: int, line: bytes) -> tuple[str, str]:
    try:
        row = orjson.loads(line)
        question, answer = row["question"], row["answer"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise AnswersError(f"{path}, line {number}: no row with `question` and `answer`") from error
    if not isinstance(question, str) or not isinstance(answer, str) or not question:
        raise AnswersError(f"{path}, line {number}: `question` and `answer` must be texts")
    return question, answer
