"""How long one decision takes: a full node of 1,000 GPUs, queues of 100 to 10,000 jobs, beside a naive scheduler.

Each decision follows the end of one running job; what starts is replaced by new submissions, so that the queue stays as
long as it is. `first` is the one decision on an empty node, which starts hundreds of jobs. The naive scheduler has the
same rule for backfill, applied as it is defined: for each later job, work out anew when the head could start beside it.
Where every end is known both must start equally many jobs, which is checked.

    python benchmarks/scheduling.py                       about half a minute
    python benchmarks/scheduling.py --gpus 8 --queued 10000
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.scheduling import Decision, Deployment, Running, Snapshot, Start, Waiting, decide

SIZES = (1, 1, 1, 2, 2, 4, 8, 16)
SERVERS = 20


@dataclass(frozen=True)
class Case:
    """What a run is made of."""

    gpus: int
    queued: int
    known: bool
    """All ends are known; else of three jobs in ten, and there are servers kept alive and jobs for them."""


@dataclass(frozen=True)
class Measured:
    first: float
    """Seconds of the decision on an empty node."""
    each: Sequence[float]
    cpu: Sequence[float]
    """Seconds of processor time of the same decisions: what is left on a machine that does other things too."""
    started: int


class Node:
    """A node that is kept full by the scheduler under test."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.random = random.Random(0)
        self.now = 1000.0
        self.submitted = 0
        self.running: dict[str, Running] = {}
        self.waiting = {job.id: job for job in self._submissions(case.queued)}
        self.deployments = () if case.known else tuple(self._servers())

    def snapshot(self) -> Snapshot:
        waiting, running = tuple(self.waiting.values()), tuple(self.running.values())
        return Snapshot(self.now, tuple(range(self.case.gpus)), frozenset(), waiting, running, self.deployments)

    def apply(self, decision: Decision) -> None:
        for start in decision.starts:
            job = self.waiting.pop(start.job)
            end = None if job.expected_seconds is None else self.now + job.expected_seconds
            self.running[job.id] = Running(job.id, start.gpus, job.serve_key, end)
        evicted = {evict.deployment for evict in decision.evict}
        self.deployments = tuple(server for server in self.deployments if server.id not in evicted)
        self.waiting.update((job.id, job) for job in self._submissions(self.case.queued - len(self.waiting)))

    def end_one(self) -> None:
        """The next job ends, in time where that is known."""
        name = min(self.running, key=lambda name: self.running[name].expected_end or self.now + self.random.random())
        self.now = max(self.running.pop(name).expected_end or 0.0, self.now)

    def _submissions(self, count: int) -> Iterator[Waiting]:
        for _ in range(count):
            self.submitted += 1
            gpus = min(self.random.choice(SIZES), self.case.gpus)
            known = self.case.known or self.random.random() < 0.3
            seconds = self.random.uniform(60, 7200) if known else None
            key = f"key-{self.random.randrange(SERVERS * 50)}"
            priority = self.random.choice((0, 0, 0, 1))
            yield Waiting(f"job-{self.submitted}", priority, self.submitted, gpus, None, key, seconds)

    def _servers(self) -> Iterator[Deployment]:
        for number in range(min(SERVERS, self.case.gpus // 4)):
            gpus = (2 * number, 2 * number + 1)
            yield Deployment(f"server-{number}", f"key-{number}", gpus, ready=True, idle_until=2000.0 + number)


def naive(snapshot: Snapshot) -> Decision:
    """In order, then backfill by definition. No servers, no explicit GPUs."""
    free = set(snapshot.gpus) - {gpu for attempt in snapshot.running for gpu in attempt.gpus}
    ends = [(attempt.expected_end or math.inf, len(attempt.gpus)) for attempt in snapshot.running]
    head, starts, why = None, [], {}
    for job in sorted(snapshot.waiting, key=lambda job: (-job.priority, job.order)):
        end = snapshot.now + (job.expected_seconds or math.inf)
        if job.gpus <= len(free) and (head is None or harmless(head, job, end, len(free), ends, snapshot.now)):
            gpus = tuple(sorted(free)[: job.gpus])
            free -= set(gpus)
            ends.append((end, job.gpus))
            starts.append(Start(job.id, gpus))
            continue
        head = head or job
        why[job.id] = f"needs {job.gpus}, {len(free)} are free"
    return Decision(tuple(starts), (), why)


def harmless(head: Waiting, job: Waiting, end: float, free: int, ends: Sequence[tuple[float, int]], now: float) -> bool:
    """Whether the head can start as soon with the job as without."""
    without = earliest(head.gpus, free, ends, now)
    return earliest(head.gpus, free - job.gpus, [*ends, (end, job.gpus)], now) <= without


def earliest(gpus: int, free: int, ends: Sequence[tuple[float, int]], now: float) -> float:
    for end, count in sorted(ends):
        if free >= gpus:
            return now
        free, now = free + count, end
    return now if free >= gpus else math.inf


def measure(case: Case, decider: Callable[[Snapshot], Decision], decisions: int) -> Measured:
    node = Node(case)
    times, cpu, started = [], [], 0
    for number in range(decisions + 1):
        snapshot = node.snapshot()
        begun, begun_cpu = time.perf_counter(), time.thread_time()
        decision = decider(snapshot)
        times.append(time.perf_counter() - begun)
        cpu.append(time.thread_time() - begun_cpu)
        started += len(decision.starts) if number else 0
        node.apply(decision)
        node.end_one()
    return Measured(times[0], times[1:], cpu[1:], started)


def report(case: Case, ours: Measured, theirs: Measured | None) -> str:
    ends = "known" if case.known else "mixed"
    figures = [ours.first, *percentiles(ours.each), *percentiles(ours.cpu)]
    line = f"{case.queued:>7} {ends:>6}" + "".join(f" {1e3 * figure:>8.2f}" for figure in figures)
    if theirs is None:
        return line
    slow = statistics.median(theirs.cpu)
    return f"{line} {1e3 * slow:>9.1f} {slow / statistics.median(ours.cpu):>5.0f}x"


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--naive-decisions", type=int, default=3)
    options = parser.parse_args()
    measure(Case(options.gpus, 100, known=False), decide, 20)  # the interpreter, and the table of placements
    print(f"Milliseconds for one decision over {options.gpus} GPUs; naive: processor time, p50")
    print(" queued   ends    first      p50      p99  cpu p50  cpu p99     naive")
    for queued in options.queued:
        known, mixed = (Case(options.gpus, queued, known) for known in (True, False))
        theirs = measure(known, naive, options.naive_decisions)
        same = measure(known, decide, options.naive_decisions)
        assert same.started == theirs.started, f"{same.started} jobs started, {theirs.started} by definition"
        print(report(known, measure(known, decide, options.decisions), theirs), flush=True)
        print(report(mixed, measure(mixed, decide, options.decisions), None), flush=True)


if __name__ == "__main__":
    main()
