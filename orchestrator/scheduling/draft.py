"""A decision while it is made: what is free, what could be freed, who got what so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.scheduling.choice import choose, wishes_of
from orchestrator.scheduling.gpu_sets import gpu_set, members
from orchestrator.scheduling.holders import UNKNOWN, Holder, holders_of
from orchestrator.scheduling.placement import place
from orchestrator.scheduling.reservation import Reservation, reserve_any, reserve_these
from orchestrator.scheduling.servers import Server, servers_of
from orchestrator.scheduling.snapshot import Evict, Snapshot, Start, Waiting


class Draft:
    """What there is to give, and what was given. Sets of GPUs are integers, see gpu_sets."""

    def __init__(self, snapshot: Snapshot, queue: Sequence[Waiting]) -> None:
        self.now = snapshot.now
        self.inventory = gpu_set(snapshot.gpus)
        self.holders = holders_of(snapshot, self.inventory)
        held = union(holder.gpus for holder in self.holders)
        self.reach = self.inventory & ~union(holder.gpus for holder in self.holders if holder.lasting)
        """GPUs that come back without anybody deleting a deployment."""
        servers = servers_of(snapshot, self.inventory, held)
        self.servers = dict(servers.usable)
        self.idle = dict(servers.idle)
        self.coming = servers.coming
        """GPUs of servers that are being stopped, for nobody yet."""
        self.free = self.inventory & ~(held | self.coming | self.stoppable)
        limit = len(queue) + 1 if snapshot.max_running is None else snapshot.max_running - len(snapshot.running)
        self.places = max(limit, 0)
        """Jobs that may still start."""
        self.starts: list[Start] = []
        self.evicted: list[Evict] = []
        self.started: set[str] = set()
        self.aside: dict[str, int] = {}
        """Jobs that only wait for a server to be stopped, and the GPUs that are set aside for them."""
        self._wishes = wishes_of(queue, frozenset(snapshot.gpus))

    @property
    def stoppable(self) -> int:
        """GPUs of idle servers."""
        return union(server.gpus for server in self.idle.values())

    def end_of(self, job: Waiting) -> float:
        """When a job that starts now is over."""
        return self.now + job.expected_seconds if job.expected_seconds and job.expected_seconds > 0 else UNKNOWN

    def choose(self, job: Waiting, pool: int) -> int:
        """GPUs of `pool` for a job that needs some; 0 where it has not got them."""
        return choose(job, pool, self._wishes)

    def reserve(self, head: Waiting) -> Reservation:
        """What is kept for a job that cannot start now, whatever is stopped for it."""
        if head.explicit is not None:
            return reserve_these(gpu_set(head.explicit), self.holders, self.now)
        available = (self.free | self.coming | self.stoppable).bit_count()
        return reserve_any(head.gpus, available, self.holders, self.now)

    def start(self, job: Waiting, gpus: int) -> None:
        """It gets these free GPUs."""
        self._occupy(job, gpus)
        self.started.add(job.id)
        self.starts.append(Start(job.id, members(gpus)))

    def use(self, job: Waiting, server: Server) -> None:
        """It uses a server that has a place for it."""
        if server.gpus:
            self._extend(server, self.end_of(job))
        at = self.servers[server.key].index(server)
        self._keep_places(server.key, [*self.servers[server.key][:at], *self.servers[server.key][at + 1 :]])
        self.places -= 1
        self.started.add(job.id)
        self.starts.append(Start(job.id, (), server.id))

    def set_aside(self, job: Waiting, stopping: Iterable[Server]) -> None:
        """Servers are stopped for it, and GPUs that are free or about to be are kept from everybody else."""
        for server in stopping:
            self.coming |= self.idle.pop(server.id).gpus
            self._keep_places(server.key, [place for place in self.servers[server.key] if place != server])
            self.evicted.append(Evict(server.id))
        self.aside[job.id] = self._about_to_be_free(job)
        self.coming &= ~self.aside[job.id]
        self._occupy(job, self.aside[job.id])

    def _about_to_be_free(self, job: Waiting) -> int:
        """First what is being freed: on what is free already, others can start at once."""
        if job.explicit is not None:
            return gpu_set(job.explicit)
        more = job.gpus - self.coming.bit_count()
        return self.coming | place(self.free, more) if more > 0 else place(self.coming, job.gpus)

    def _extend(self, server: Server, end: float) -> None:
        """The server is in use until then, at least."""
        if self.idle.pop(server.id, None):
            self.holders.append(Holder(server.id, server.gpus, end))
        else:
            self.holders = [
                replace(holder, end=max(holder.end, end)) if holder.gpus & server.gpus else holder
                for holder in self.holders
            ]

    def _keep_places(self, key: str, places: Sequence[Server]) -> None:
        # A key without a place is no key: the long way through the queue looks for keys only.
        del self.servers[key]
        if places:
            self.servers[key] = tuple(places)

    def _occupy(self, job: Waiting, gpus: int) -> None:
        self.places -= 1
        self.free &= ~gpus
        if gpus:
            self.holders.append(Holder(job.id, gpus, self.end_of(job)))


def could_fit(job: Waiting, gpus: int) -> bool:
    """Whether these have what the job needs, if nobody held them."""
    if job.explicit is None:
        return job.gpus <= gpus.bit_count()
    return not gpu_set(job.explicit) & ~gpus


def union(sets: Iterable[int]) -> int:
    """All GPUs of these sets."""
    found = 0
    for gpus in sets:
        found |= gpus
    return found
