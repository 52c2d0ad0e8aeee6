"""The replicas of one job: which are ready, and which one a request goes to."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import TracebackType

from clients.errors import NoReplica
from clients.replica import Replica, State
from clients.request import InferenceRequest
from clients.routing import LeastInFlight, Policy


class Lease:
    """A replica lent to one request for the length of a `with` block."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        replica.in_flight += 1
        replica.served += 1

    def __enter__(self) -> Replica:
        return self.replica

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replica.in_flight -= 1


class Pool:
    """The replicas, in the order in which they were added."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.replicas: list[Replica] = []
        self._policy = policy or LeastInFlight()
        self._closed: str | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def ready(self) -> list[Replica]:
        """Those that take requests now."""
        return [replica for replica in self.replicas if replica.state == "ready"]

    @property
    def waiting(self) -> int:
        """Requests held because no replica is ready."""
        return len(self._waiters)

    def add(self, replica: Replica) -> None:
        """One more replica, in the state it has (`starting` when new)."""
        self.replicas.append(replica)
        self._wake()

    def mark_ready(self, replica: Replica) -> None:
        """It takes requests from now on."""
        self._mark(replica, "ready", "")

    def mark_unhealthy(self, replica: Replica, reason: str) -> None:
        """It takes no new requests; those in flight go on."""
        self._mark(replica, "unhealthy", reason)

    def mark_dead(self, replica: Replica, reason: str) -> None:
        """It is gone: requests in flight at it fail now and go to others."""
        self._mark(replica, "dead", reason)
        replica.upstream.close()

    def close(self, reason: str) -> None:
        """No replica will come (again): who waits, and who comes, gets `NoReplica` at once."""
        self._closed = reason
        self._wake()

    async def acquire(self, request: InferenceRequest, exclude: Collection[str] = ()) -> Lease:
        """Lend a ready replica, however long that takes; raises `NoReplica` once the pool is closed.

        `exclude` names replicas that get it only if no other one is ready.
        """
        while True:
            if self._closed is not None:
                raise NoReplica(f"no replica is ready and none will come: {self._closed}")
            ready = self.ready
            if ready:
                others = [replica for replica in ready if replica.name not in exclude] if exclude else ready
                return Lease(self._policy.choose(others or ready, request))
            await self._change()

    def has_other(self, exclude: Collection[str]) -> bool:
        """Is a replica ready that is not in `exclude`?"""
        return any(replica.name not in exclude for replica in self.ready)

    def _mark(self, replica: Replica, state: State, reason: str) -> None:
        replica.state, replica.reason = state, reason
        self._wake()

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
