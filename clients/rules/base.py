"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from clients.connection import Headers
from clients.replica import Replica
from clients.request import InferenceRequest

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RequestRule:
    """Changes requests. `change` gives the changed body, or the very body it got; never changes it in place."""

    name: str
    change: Callable[[Json, InferenceRequest, Replica], Json]


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses requests: `refusal` says why, or None."""

    name: str
    refusal: Callable[[InferenceRequest], str | None]


class AnswerEdit(Protocol):
    """Changes the answer to one request, whole or as a stream. May change in place what it is given."""

    def whole(self, answer: Json) -> bool:
        """Change a whole answer; was anything changed?"""

    def event(self, event: Json) -> list[Json] | None:
        """What takes this event's place; None: it stays as it is, byte for byte."""

    def end(self) -> list[Json]:
        """Events that are still to come when the stream is complete."""


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Changes answers. `edit` gives what does so for one request, None if this one's answer is none of its."""

    name: str
    edit: Callable[[InferenceRequest], AnswerEdit | None]


class Reply(Protocol):
    """The way back to the client (see `Visit`)."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer at once."""

    async def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """An answer in pieces begins: a stream, or of `length` bytes if that is known."""

    async def piece(self, data: bytes) -> None:
        """More of the stream."""

    async def end(self) -> None:
        """The stream is complete."""


def choices_of(answer: Json) -> Iterator[Json]:
    """The choices of an answer or an event."""
    choices = answer.get("choices")
    if isinstance(choices, list):
        yield from (choice for choice in choices if isinstance(choice, dict))


def index_of(choice: Json) -> int:
    """Which choice it is; 0 where the engine does not say."""
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def place_of(choice: Json) -> tuple[Json, str]:
    """Where a choice keeps its text: the object and the name in it."""
    for name in ("message", "delta"):
        if isinstance(choice.get(name), dict):
            return choice[name], "content"
    return choice, "text"


def text_of(choice: Json) -> str | None:
    """The text of a choice, None where it has none (a tool call, the last event of a stream)."""
    place, name = place_of(choice)
    text = place.get(name)
    return text if isinstance(text, str) else None


def partial_end(text: str, wanted: str) -> int:
    """How many characters at the end of `text` may be the beginning of `wanted`, which it does not hold."""
    for length in range(min(len(wanted) - 1, len(text)), 0, -1):
        if text.endswith(wanted[:length]):
            return length
    return 0
