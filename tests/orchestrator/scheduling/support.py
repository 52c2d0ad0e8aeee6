"""Short words for snapshots, and a node on which decisions are carried out until every job is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.scheduling import Decision, Deployment, Running, Snapshot, Start, Waiting, decide

STOPPING = 1.0
"""Seconds that a server takes to stop."""


def job(
    order: int,
    gpus: int = 1,
    *,
    priority: int = 0,
    explicit: Sequence[int] | None = None,
    key: str = "",
    seconds: float | None = None,
    not_before: float = 0.0,
) -> Waiting:
    explicit = None if explicit is None else tuple(explicit)
    count = gpus if explicit is None else len(explicit)
    return Waiting(f"job-{order}", priority, order, count, explicit, key or f"key-{order}", seconds, not_before)


def node(
    gpus: int,
    *waiting: Waiting,
    running: Iterable[Running] = (),
    deployments: Iterable[Deployment] = (),
    taken: Iterable[int] = (),
    max_running: int | None = None,
) -> Snapshot:
    """A snapshot at 100 s."""
    inventory = tuple(range(gpus))
    return Snapshot(
        100.0, inventory, frozenset(taken), waiting, tuple(running), tuple(deployments), max_running=max_running
    )


def started(decision: Decision) -> list[str]:
    return [start.job for start in decision.starts]


@dataclass(frozen=True)
class Submission:
    """A job, when it is submitted and how long it really takes."""

    job: Waiting
    at: float
    seconds: float


@dataclass
class Cluster:
    """Carries out every decision, with a clock of its own that jumps from event to event."""

    gpus: tuple[int, ...]
    submissions: Sequence[Submission]
    keep_alive: float = 0.0
    max_running: int | None = None
    decider: Callable[[Snapshot], Decision] = decide
    now: float = 0.0
    started_at: dict[str, float] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    servers: dict[str, Deployment] = field(default_factory=dict)
    gone_at: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, float]:
        """When each job started. Fails where nothing is left to happen and a job still waits."""
        while len(self.started_at) < len(self.submissions):
            self._end_what_is_over()
            snapshot = self.snapshot()
            decision = self.decider(snapshot)
            check(snapshot, decision)
            self._carry_out(decision, {job.id: job for job in snapshot.waiting})
            later = [moment for moment in self._moments() if moment > self.now]
            assert later or len(self.started_at) == len(self.submissions), f"for ever: {self.snapshot()}"
            self.now = min(later, default=self.now)
        return self.started_at

    def snapshot(self) -> Snapshot:
        waiting = [one.job for one in self.submissions if one.at <= self.now and one.job.id not in self.started_at]
        return Snapshot(
            self.now,
            self.gpus,
            frozenset(),
            tuple(waiting),
            tuple(self.running.values()),
            tuple(self.servers.values()),
            max_running=self.max_running,
        )

    def _moments(self) -> Iterable[float]:
        yield from (max(one.at, one.job.not_before) for one in self.submissions if one.job.id not in self.started_at)
        yield from (one.at for one in self.submissions)
        yield from self.ends.values()
        yield from self.gone_at.values()
        yield from (server.idle_until for server in self.servers.values() if server.idle_until is not None)

    def _end_what_is_over(self) -> None:
        for name in [name for name, end in self.ends.items() if end <= self.now]:
            del self.ends[name]
            self._leave(self.running.pop(name))
        for name in [name for name, moment in self.gone_at.items() if moment <= self.now]:
            del self.gone_at[name], self.servers[name]
        for server in list(self.servers.values()):
            over = server.idle_until is not None and server.idle_until <= self.now and not server.in_use_by
            if over and server.id not in self.gone_at:
                self._stop(server)

    def _leave(self, attempt: Running) -> None:
        until = self.now + self.keep_alive
        if attempt.gpus and self.keep_alive:
            self.servers[attempt.id] = Deployment(attempt.id, attempt.serve_key, attempt.gpus, True, (), until)
        for server in list(self.servers.values()):
            if attempt.id in server.in_use_by:
                self.servers[server.id] = replace(server, in_use_by=(), idle_until=until)

    def _stop(self, server: Deployment) -> None:
        self.servers[server.id] = replace(server, ready=False)
        self.gone_at[server.id] = self.now + STOPPING

    def _carry_out(self, decision: Decision, waiting: dict[str, Waiting]) -> None:
        for start in decision.starts:
            self._start(start, waiting[start.job])
        for evict in decision.evict:
            self._stop(self.servers[evict.deployment])

    def _start(self, start: Start, job: Waiting) -> None:
        seconds = next(one.seconds for one in self.submissions if one.job.id == job.id)
        expected = None if job.expected_seconds is None else self.now + job.expected_seconds
        self.started_at[job.id] = self.now
        self.ends[job.id] = self.now + seconds
        self.running[job.id] = Running(job.id, start.gpus, job.serve_key, expected)
        if start.deployment:
            self.servers[start.deployment] = replace(self.servers[start.deployment], in_use_by=(job.id,))


def check(snapshot: Snapshot, decision: Decision) -> None:
    """What holds for every decision, whatever the snapshot."""
    jobs = {job.id: job for job in snapshot.waiting}
    servers = {server.id: server for server in snapshot.deployments}
    held = [*snapshot.taken, *(gpu for holder in (*snapshot.running, *servers.values()) for gpu in holder.gpus)]
    given = [gpu for start in decision.starts for gpu in start.gpus]
    assert len(set(given)) == len(given), "a GPU was given twice"
    assert not set(given) & set(held), "a GPU was given that somebody holds"
    assert set(given) <= set(snapshot.gpus), "a GPU was given that is not in the inventory"
    assert len({start.job for start in decision.starts}) == len(decision.starts), "a job was started twice"
    for start in decision.starts:
        check_start(jobs[start.job], start, servers, snapshot.now)
    check_servers(decision, servers)
    if decision.starts and snapshot.max_running is not None:
        assert len(snapshot.running) + len(decision.starts) <= snapshot.max_running
    assert set(decision.why) == set(jobs) - {start.job for start in decision.starts}
    assert all(decision.why.values())


def check_start(job: Waiting, start: Start, servers: dict[str, Deployment], now: float) -> None:
    assert job.not_before <= now
    if start.deployment is not None:
        assert servers[start.deployment].ready
        assert servers[start.deployment].serve_key == job.serve_key
        assert start.gpus == ()
    elif job.explicit is not None:
        assert start.gpus == tuple(sorted(job.explicit))
    else:
        assert len(start.gpus) == job.gpus


def check_servers(decision: Decision, servers: dict[str, Deployment]) -> None:
    used = [start.deployment for start in decision.starts if start.deployment]
    for name in used:
        assert used.count(name) + len(servers[name].in_use_by) <= servers[name].users
    for evict in decision.evict:
        server = servers[evict.deployment]
        assert server.ready
        assert server.idle_until is not None
        assert not server.in_use_by
        assert server.id not in used
