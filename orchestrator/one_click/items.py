"""What the parts of a model's entry come to: fields of a job, notes, and what would change the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["serve", "compress", "evaluate", "generation", "opencompass", "parameters"]
"""Where a value goes; `parameters`: into every request, by a rule of the gateway."""


@dataclass(frozen=True, slots=True)
class Set:
    """A value that is carried over."""

    part: Part
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """Words that end an answer, beside those of other items."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """Words added to the engine's command line, for what `serve` does not name."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What is not carried over, or in another way, without a change to what is asked and answered."""

    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """What cannot be carried over and would change the answers: an error unless it is allowed."""

    key: str
    """As in the config, dotted: `generation_kwargs.num_beams`."""
    text: str


Item = Set | Stop | Argument | Note | Change
