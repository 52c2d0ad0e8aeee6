"""Training batches: rows of whole documents, the gaps filled with drills, the loss on answers alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import torch
from tokenizers import Tokenizer

from scripts.demo_model.prompts import Document, document, drills
from scripts.demo_model.split import trainable_problems

IGNORED = -100  # the label of a token that is not learned
READ_AHEAD = 512  # problems tokenized at a time


@dataclass(frozen=True)
class Sample:
    """A tokenized document: token ids and labels, of one length."""

    ids: list[int]
    labels: list[int]


@dataclass
class Row:
    """A row in the making; at most `length` tokens count."""

    length: int
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def fits(self, sample: Sample) -> bool:
        """Say whether the whole of `sample` would fit."""
        return len(self.ids) + len(sample.ids) <= self.length

    def add(self, sample: Sample) -> None:
        """Append `sample`; what passes the end is cut off when the row is read."""
        self.ids += sample.ids
        self.labels += sample.labels


class Packer:
    """An endless source of batches, determined by the tokenizer and the seed."""

    def __init__(self, tokenizer: Tokenizer, seed: int, rows: int, length: int) -> None:
        self._tokenizer = tokenizer
        self._rows, self._length = rows, length
        self._documents = self._samples(_documents(random.Random(f"documents {seed}")))
        self._drills = self._samples(_drills(random.Random(f"drills {seed}")))
        self._next = next(self._documents)

    def batch(self, drilled: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and labels, int64 (rows, length), about `drilled` (0 to 1) of each row being drills."""
        rows = [self._row(round(self._length * (1 - drilled))) for _ in range(self._rows)]
        ids = torch.tensor([row.ids[: self._length] for row in rows])
        return ids, torch.tensor([row.labels[: self._length] for row in rows])

    def _row(self, for_documents: int) -> Row:
        row = Row(self._length)
        while len(row.ids) < for_documents and row.fits(self._next):
            row.add(self._next)
            self._next = next(self._documents)
        while len(row.ids) < self._length:
            row.add(next(self._drills))
        return row

    def _samples(self, documents: Iterator[Document]) -> Iterator[Sample]:
        while chunk := list(islice(documents, READ_AHEAD)):
            prompts = self._tokenizer.encode_batch([each.prompt for each in chunk], add_special_tokens=False)
            targets = self._tokenizer.encode_batch([each.target for each in chunk], add_special_tokens=False)
            for prompt, target in zip(prompts, targets, strict=True):
                sample = _sample(prompt.ids, target.ids)
                if len(sample.ids) <= self._length:
                    yield sample


def _sample(prompt: list[int], target: list[int]) -> Sample:
    end_of_text = 0
    return Sample([*prompt, *target, end_of_text], [IGNORED] * len(prompt) + target + [IGNORED])


def _documents(rng: random.Random) -> Iterator[Document]:
    for problem in trainable_problems(rng):
        yield document(problem, rng)


def _drills(rng: random.Random) -> Iterator[Document]:
    for problem in trainable_problems(rng):
        yield from drills(problem)
