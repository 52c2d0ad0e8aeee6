"""Which of the ready replicas a request goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clients.replica import Replica
from clients.request import InferenceRequest


class Policy(Protocol):
    """One way to choose. Called once per attempt, on the hot path."""

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """One of `ready`, which is never empty."""


class LeastInFlight:
    """The one with the fewest requests in flight; among equals the one that was given the fewest."""

    def choose(self, ready: Sequence[Replica], request: InferenceRequest) -> Replica:
        """See `Policy`."""
        return min(ready, key=lambda replica: (replica.in_flight, replica.served))
