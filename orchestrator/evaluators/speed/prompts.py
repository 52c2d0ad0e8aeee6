"""Prompts of an exact number of tokens, each begun with fresh words so that no prefix cache knows it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from clients.errors import TokenizerUnusable
from clients.fidelity.tokenizer import LocalTokenizer, load_tokenizer
from orchestrator.evaluators.speed.plan import SpeedFailed

FRESH = 2
"""Words at the start of each prompt that no seed decides. Caches go by prefixes: nothing after them is known."""
MOST_WORDS = 1000
_WORD = re.compile(r"[Ġ▁][a-z]{2,}")  # how byte-level BPE and SentencePiece write a word after a space
# For engines whose tokenizer is not here: common words, one token each nearly everywhere.
_COMMON = (
    *("the", "of", "and", "to", "in", "is", "was", "for", "that", "with", "as"),
    *("on", "by", "he", "it", "at", "from", "his", "an", "were", "are", "which"),
    *("this", "be", "had", "also", "or", "has", "first", "one", "their", "its", "new"),
    *("after", "but", "who", "they", "have", "her", "she", "two", "been", "other", "when"),
    *("there", "all", "during", "into", "school", "time"),
)


class PromptMaker:
    """Makes prompts of words that are one token each.

    `slope` and `offset` say what the engine counts where we count words: see `calibrated`.
    """

    def __init__(
        self,
        words: Sequence[str],
        tokenizer: LocalTokenizer | None,
        *,
        seed: int,
        slope: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        self._words = words
        self._tokenizer = tokenizer
        self._seed = seed
        self._slope = slope
        self._offset = offset
        self._drawn = random.Random(seed)
        self._fresh = random.SystemRandom()

    @classmethod
    def of(cls, tokenizer: str | None, seed: int) -> PromptMaker:
        """From the model's own tokenizer where there is one. Raises: SpeedFailed when it cannot be used."""
        if tokenizer is None:
            return cls([f" {word}" for word in _COMMON], None, seed=seed)
        try:
            loaded = load_tokenizer(Path(tokenizer))
        except TokenizerUnusable as error:
            raise SpeedFailed(error.message, hint=error.hint) from error
        words = list(_single_words(loaded))
        if len(words) < 16:
            return cls([f" {word}" for word in _COMMON], loaded, seed=seed)
        return cls(words, loaded, seed=seed)

    def seeded(self, seed: int) -> PromptMaker:
        """The same with another seed, from its beginning."""
        return PromptMaker(self._words, self._tokenizer, seed=seed, slope=self._slope, offset=self._offset)

    def calibrated(self, words: tuple[int, int], counted: tuple[int, int]) -> PromptMaker:
        """The same, told how many tokens the engine counted in prompts of two sizes (`make_words`)."""
        slope = (counted[1] - counted[0]) / (words[1] - words[0])
        offset = counted[0] - slope * words[0]
        return PromptMaker(self._words, self._tokenizer, seed=self._seed, slope=slope, offset=offset)

    @property
    def exact(self) -> bool:
        """Whether a word is a token to the engine."""
        return abs(self._slope - 1.0) < 1e-9

    def make(self, tokens: int) -> str:
        """A prompt that the engine should count as `tokens`, at least one word."""
        return self.make_words(max(1, round((tokens - self._offset) / self._slope)))

    def make_words(self, words: int) -> str:
        """A prompt of so many words."""
        fresh = min(FRESH, words)
        chosen = [*self._fresh.choices(self._words, k=fresh), *self._drawn.choices(self._words, k=words - fresh)]
        return "".join(chosen)

    def count(self, prompt: str) -> int | None:
        """Tokens by the model's own tokenizer; None without one. About a second for 100,000."""
        return self._tokenizer.count(prompt, special=True) if self._tokenizer else None


def _single_words(tokenizer: LocalTokenizer) -> Iterator[str]:
    """Words of the vocabulary that stay one token wherever they stand, in a fixed order."""
    names = sorted(name for name in tokenizer.encoder.get_vocab() if _WORD.fullmatch(name))
    random.Random(0).shuffle(names)
    found = 0
    for name in names:
        word = f" {name[1:]}"
        if tokenizer.count(word * 3, special=False) == 3:
            yield word
            found += 1
        if found == MOST_WORDS:
            return
