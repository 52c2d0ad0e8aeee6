"""Which of the ready replicas a request goes to.

Load is requests in flight over the replica's weight: a replica of weight 2 is as loaded with 20 as another with 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Protocol

from clients.replica import Replica
from clients.request import InferenceRequest


class Policy(Protocol):
    """One way to choose. Called once per attempt, on the hot path."""

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """One of `ready`, which is never empty."""


def policy(name: str) -> Policy:
    """The policy of this name, with its defaults: one of `POLICIES`. Raises `ValueError` for any other."""
    try:
        return POLICIES[name]()
    except KeyError:
        raise ValueError(f"no routing policy {name!r}; there are: {', '.join(POLICIES)}") from None


class LeastInFlight:
    """The least loaded one; among equals the one that was given the fewest."""

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """See `Policy`."""
        return ready[0] if len(ready) == 1 else min(ready, key=_load)


@dataclass(frozen=True, slots=True)
class TwoChoices:
    """The less loaded of two drawn at random: nearly as even as `LeastInFlight` at a cost that does not grow."""

    random: Random = field(default_factory=Random)

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """See `Policy`."""
        if len(ready) == 1:
            return ready[0]
        one = self.random.randrange(len(ready))
        other = self.random.randrange(len(ready) - 1)
        return min(ready[one], ready[other + (other >= one)], key=_load)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Prompts that begin alike go to the same replica, whose prefix cache is warm, while it is not overloaded.

    Every prefix (the first `length` characters of the prompt) ranks the replicas in an order of its own (weighted
    rendezvous hashing: a replica that comes or goes moves only its own prefixes). The first in that order that would
    have no more than its share of the requests in flight, times `bound`, takes the request; a group that outgrows
    one replica thus spills over to its second choice, and to no more replicas than it needs. A `bound` of 1 keeps the
    load exactly even, a high one keeps affinity whatever the load; less is a `ValueError`.
    """

    length: int = 256
    bound: float = 1.25

    def __post_init__(self) -> None:
        if self.bound < 1:
            raise ValueError(f"a bound of {self.bound:g} leaves no replica for some request; it must be at least 1")

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """See `Policy`."""
        if len(ready) == 1:
            return ready[0]
        text = prompt_start(request.json or {}, self.length)
        if not text:
            return min(ready, key=_load)
        prefix = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        share = self.bound * (1 + sum(replica.in_flight for replica in ready)) / sum(one.weight for one in ready)
        fits = [replica for replica in ready if replica.in_flight < math.ceil(share * replica.weight)]
        return max(fits, key=lambda replica: _rank(prefix, replica))  # one fits always: a bound of 1 leaves room


POLICIES: Mapping[str, Callable[[], Policy]] = {
    "least_in_flight": LeastInFlight,
    "two_choices": TwoChoices,
    "prefix": Prefix,
}


def prompt_start(body: Mapping[str, Any], length: int) -> str:
    """The first `length` characters of the prompt: of the messages with their roles, or of the text; else empty."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return _joined(_message_texts(messages), length)
    prompt = body.get("prompt", body.get("inputs"))
    while isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, list):  # of token numbers: about four characters each
        return ",".join(map(str, prompt[: length // 4]))
    return prompt[:length] if isinstance(prompt, str) else ""


def _load(replica: Replica) -> tuple[float, int]:
    return replica.in_flight / replica.weight, replica.served


def _rank(prefix: bytes, replica: Replica) -> float:
    digest = blake2b(replica.name.encode(), key=prefix, digest_size=7).digest()
    return -replica.weight / math.log((int.from_bytes(digest, "big") + 1) / ((1 << 56) + 1))


def _joined(texts: Iterable[str], length: int) -> str:
    start = ""
    for text in texts:
        start += text[:length]
        if len(start) >= length:
            break
    return start[:length]


def _message_texts(messages: Sequence[Any]) -> Iterable[str]:
    for message in messages:
        if not isinstance(message, dict):
            continue
        yield f"{message.get('role')}:"
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield from (
                part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
