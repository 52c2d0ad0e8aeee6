"""Prometheus metrics: counted as events come by, or read from the store when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.record import Event, State
from orchestrator.service.core import Service
from orchestrator.store.rows import JobHead
from orchestrator.store.store import Store

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000)
REQUEST_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 100)
OUTCOMES = ("asked", "answered", "failed", "retried", "replayed")
"""What the gateway counts of requests."""


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, service: Service) -> None:
        self._registry = registry = CollectorRegistry()
        self._store = service.store
        registry.register(_Now(service))
        self._requests = Counter(
            "orchestrator_http_requests", "Requests.", ("method", "route", "status"), registry=registry
        )
        self._request_seconds = Histogram(
            "orchestrator_http_request_seconds",
            "Time to the end of the answer; streams last as long as they are watched.",
            ("route",),
            buckets=REQUEST_SECONDS,
            registry=registry,
        )
        self._waits = Histogram(
            "orchestrator_queue_wait_seconds",
            "From submission to the first attempt.",
            buckets=SECONDS,
            registry=registry,
        )
        self._finished = Counter(
            "orchestrator_jobs_finished", "Jobs that are over.", ("state", "engine", "code"), registry=registry
        )
        self._phases = Histogram(
            "orchestrator_job_phase_seconds",
            "Time that finished jobs spent in each phase.",
            ("phase", "engine"),
            buckets=SECONDS,
            registry=registry,
        )
        self._attempts = Counter("orchestrator_attempts", "Attempts that began.", ("engine",), registry=registry)
        self._lost = Counter(
            "orchestrator_attempts_lost", "Attempts whose runner was lost.", ("engine",), registry=registry
        )
        self._gateway = Counter(
            "orchestrator_gateway_requests",
            "Requests of evaluators, as the gateways of finished jobs counted them.",
            ("outcome", "engine"),
            registry=registry,
        )
        service.observe(self.job_changed)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def job_changed(self, job: JobHead, events: Sequence[Event]) -> None:
        """Count what a job's new events tell."""
        for event in events:
            if event.type != "state":
                continue
            if event.state is State.ALLOCATING:
                self._attempts.labels(job.engine).inc()
                if event.attempt == 1:
                    self._waits.observe(max(0.0, (job.started_at or time.time()) - job.created_at))
            if event.state is State.QUEUED and event.attempt:
                self._lost.labels(job.engine).inc()
            if event.state.terminal:
                self._finished.labels(event.state.value, job.engine, event.code or "").inc()
                self._count_record(job)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)

    def _count_record(self, job: JobHead) -> None:
        record = self._store.records([job.id]).get(job.id, {})
        for phase, seconds in record.get("times", {}).items():
            self._phases.labels(phase, job.engine).observe(seconds)
        for outcome in OUTCOMES:
            self._gateway.labels(outcome, job.engine).inc(record.get("gateway", {}).get(outcome, 0))


class _Now(Collector):
    """What the store holds at this moment."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Read it."""
        store = self._service.store
        counts = store.counts()
        yield _gauge("orchestrator_jobs", "Jobs.", "state", {state.value: counts.get(state, 0) for state in State})
        yield _gauge("orchestrator_leases", "Leases.", "kind", _leases(store))
        yield GaugeMetricFamily("orchestrator_ready", "Whether jobs are placed.", value=float(self._service.ready))
        waiting = store.queued()
        now = time.time()
        oldest = now - min((job.created_at for job in waiting), default=now)
        yield GaugeMetricFamily("orchestrator_queue_length", "Jobs that wait for an attempt.", value=len(waiting))
        yield GaugeMetricFamily("orchestrator_queue_oldest_seconds", "Age of the oldest of them.", value=oldest)
        living = len(store.deployments.all(living=True))
        yield GaugeMetricFamily("orchestrator_deployments", "Deployments that live.", value=living)


def _leases(store: Store) -> dict[str, int]:
    kinds = [kind for kind, _ in store.leases()]
    return {kind: kinds.count(kind) for kind in ("gpu", "port")}


def _gauge(name: str, described: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, described, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
