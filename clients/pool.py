"""The replicas of one job: which are ready, and which one a request goes to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType

from clients.errors import NoReplica
from clients.limiter import Limiter
from clients.replica import Replica, State
from clients.request import InferenceRequest
from clients.routing import LeastInFlight, Policy


class Lease:
    """A replica lent to one request for the length of a `with` block; what came of it is told here."""

    __slots__ = ("_losses", "_pool", "_trial", "began", "replica")

    def __init__(self, pool: Pool, replica: Replica) -> None:
        self.replica = replica
        self.began = asyncio.get_running_loop().time()
        """When, in seconds of the event loop's clock."""
        self._pool = pool
        self._losses = replica.losses
        self._trial = replica.breaker.begin()
        replica.in_flight += 1
        replica.served += 1
        pool.in_flight += 1

    @property
    def lost(self) -> bool:
        """Has the replica been marked dead since?"""
        return self.replica.losses != self._losses

    def succeeded(self) -> None:
        """The replica gave a real answer."""
        self.replica.breaker.success()
        self._pool.told(self, "")

    def failed(self, cause: str, request: str) -> None:
        """The replica gave none; `request` is the key of what was asked."""
        self.replica.breaker.failure(cause, request)
        self.replica.last_error = cause
        self._pool.told(self, cause)

    def __enter__(self) -> Replica:
        return self.replica

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replica.in_flight -= 1
        self.replica.breaker.end(self._trial)
        self._pool.given_back()


@dataclass(slots=True)
class _Held:
    """A request that waits for a replica."""

    given: asyncio.Future[Lease]
    request: InferenceRequest
    exclude: Collection[str]


class Pool:
    """The replicas, in the order in which they were added.

    `limiter` says how many requests may be in flight over all replicas; None: any number.
    """

    def __init__(self, policy: Policy | None = None, limiter: Limiter | None = None) -> None:
        self.replicas: list[Replica] = []
        self.limiter = limiter
        self.in_flight = 0
        """Requests at the replicas."""
        self.waiting = 0
        """Requests held: no replica takes any, or as many are in flight as may be."""
        self._policy = policy or LeastInFlight()
        self._closed: str | None = None
        self._held: deque[_Held] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        if limiter is not None:
            self.limit_by(limiter)

    @property
    def ready(self) -> list[Replica]:
        """Those that take requests now, but for what their breakers say."""
        return [replica for replica in self.replicas if replica.state == "ready"]

    def limit_by(self, limiter: Limiter) -> None:
        """From now on it says how many requests may be in flight."""
        self.limiter = limiter
        limiter.changed = self._serve

    def add(self, replica: Replica) -> None:
        """One more replica, in the state it has (`starting` when new)."""
        self.replicas.append(replica)
        replica.breaker.changed = self._serve
        self._serve()

    def mark_ready(self, replica: Replica) -> None:
        """It takes requests from now on."""
        self._mark(replica, "ready", "")

    def mark_unhealthy(self, replica: Replica, reason: str) -> None:
        """It takes no new requests; those in flight go on."""
        self._mark(replica, "unhealthy", reason)

    def mark_starting(self, replica: Replica, reason: str) -> None:
        """It is being started (again) and may come."""
        self._mark(replica, "starting", reason)

    def mark_dead(self, replica: Replica, reason: str) -> None:
        """It is gone: requests in flight at it fail now and go to others."""
        replica.losses += 1
        self._mark(replica, "dead", reason)
        replica.upstream.close()

    def close(self, reason: str) -> None:
        """No replica will come (again): who waits, and who comes, gets `NoReplica` at once."""
        self._closed = reason
        self._serve()

    async def acquire(self, request: InferenceRequest, exclude: Collection[str] = ()) -> Lease:
        """Lend a ready replica, however long that takes; raises `NoReplica` once the pool is closed.

        Who waits is served in order, who was sent before (`exclude` is not empty) first. `exclude` names replicas
        that get the request only if no other one takes requests.
        """
        if self._closed is not None:
            raise self._none()
        if (not self._held or exclude) and (lease := self._lend(request, exclude)):
            return lease
        held = _Held(asyncio.get_running_loop().create_future(), request, exclude)
        self._held.appendleft(held) if exclude else self._held.append(held)
        self._set_alarm()
        self.waiting += 1
        try:
            return await held.given
        except asyncio.CancelledError:
            if held.given.done() and not held.given.cancelled() and held.given.exception() is None:
                held.given.result().__exit__(None, None, None)
            raise
        finally:
            self.waiting -= 1

    async def judged(self, lease: Lease) -> None:
        """Wait until it is known whether a watched replica, silent for the whole of a time limit, still lives."""
        replica, now = lease.replica, asyncio.get_running_loop().time()
        while replica.watched and not lease.lost and replica.last_success < now and self._closed is None:  # noqa: ASYNC110 - seldom, and the watcher bounds it
            await asyncio.sleep(0.1)

    def has_other(self, exclude: Collection[str]) -> bool:
        """Does a replica take requests that is not in `exclude`?"""
        return any(replica.name not in exclude and replica.breaker.admits() for replica in self.ready)

    def told(self, lease: Lease, cause: str) -> None:
        """What came of a lease (called by it); `cause` is empty for an answer."""
        if self.limiter is not None:
            seconds = asyncio.get_running_loop().time() - lease.began
            self.limiter.finished(seconds, cause, saturated=bool(self._held))

    def given_back(self) -> None:
        """A lease is over (called by it)."""
        self.in_flight -= 1
        if self._held:
            self._serve()

    def _lend(self, request: InferenceRequest, exclude: Collection[str]) -> Lease | None:
        if self.limiter is not None and self.in_flight >= self.limiter.limit:
            return None
        able = [replica for replica in self.replicas if replica.state == "ready" and replica.breaker.admits()]
        if not able:
            return None
        others = [replica for replica in able if replica.name not in exclude] if exclude else able
        return Lease(self, self._policy.choose(others or able, request))

    def _serve(self) -> None:
        """Lend to those who wait, in order, as long as there is something to lend."""
        while self._held:
            held = self._held[0]
            if not held.given.done():
                if self._closed is not None:
                    held.given.set_exception(self._none())
                elif lease := self._lend(held.request, held.exclude):
                    held.given.set_result(lease)
                else:
                    self._set_alarm()
                    return
            self._held.popleft()

    def _set_alarm(self) -> None:
        """Look again when the first breaker is due to let a request try."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due = [pause for replica in self.ready if 0 < (pause := replica.breaker.opens_in()) < float("inf")]
        if due:
            self._alarm = asyncio.get_running_loop().call_later(min(due), self._serve)

    def _none(self) -> NoReplica:
        return NoReplica(f"no replica is ready and none will come: {self._closed}")

    def _mark(self, replica: Replica, state: State, reason: str) -> None:
        replica.state, replica.reason = state, reason
        if state == "ready":
            replica.breaker.reset()
        self._serve()
