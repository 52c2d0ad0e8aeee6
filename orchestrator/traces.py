"""Traces of jobs for OpenTelemetry: a span per job and one per state, sent once the job is over.

OTLP over HTTP in its JSON form, which is documents and no library. Where to say the standard variables:
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces` added, and
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`. Without an endpoint nothing is made. A collector that is away for
longer than the repetitions take misses the trace: the job's own record has all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import httpx

from orchestrator.record import Event, State
from orchestrator.service.core import Service
from orchestrator.store.rows import JobHead, JobRow

PAUSES = (1.0, 4.0, 16.0, 60.0)
"""Seconds before each repetition."""
WAITING = 1000
"""Jobs whose traces wait at most; the oldest are dropped."""
_INTERNAL, _ERROR = 1, 2  # span kind and status code of OTLP

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """Where traces go."""

    url: str
    headers: Mapping[str, str]
    service_name: str

    @classmethod
    def named(cls, environment: Mapping[str, str]) -> Collector | None:
        """The one that the standard variables name; None: none."""
        base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        url = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (base and f"{base.rstrip('/')}/v1/traces")
        if not url:
            return None
        given = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "")
        pairs = (part.partition("=") for part in given.split(",") if "=" in part)
        headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
        return cls(url, headers, environment.get("OTEL_SERVICE_NAME", "orchestrator"))


class Traces:
    """Sends the trace of every job that ends while `running`."""

    def __init__(self, service: Service, collector: Collector | None) -> None:
        self._service = service
        self._collector = collector
        self._ended: deque[str] = deque(maxlen=WAITING)
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nothing at all without a collector."""
        if self._collector is None:
            yield
            return
        self._service.observe(self._observe)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._run(self._collector))
            yield
            sending.cancel()

    def _observe(self, job: JobHead, events: Sequence[Event]) -> None:
        if any(event.state.terminal for event in events):
            self._ended.append(job.id)
            self._wake.set()

    async def _run(self, collector: Collector) -> None:
        async with httpx.AsyncClient(timeout=10.0, headers=dict(collector.headers)) as http:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._ended:
                    await self._send(http, collector, self._ended.popleft())

    async def _send(self, http: httpx.AsyncClient, collector: Collector, job_id: str) -> None:
        job = await asyncio.to_thread(self._service.store.job, job_id)
        if job is None:
            return
        document = trace_of(job, await asyncio.to_thread(self._service.store.events, job_id), collector.service_name)
        told = ""
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            try:
                (await http.post(collector.url, json=document)).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                told = str(error) or type(error).__name__
            else:
                return
        log.warning("no trace: %s", told, extra={"job": job_id})


def trace_of(job: JobRow, events: Sequence[Event], service_name: str) -> dict[str, Any]:
    """The OTLP document of a job that is over. The same job always gives the same trace and span ids."""
    spans = [_root(job, events), *_states(job, events)]
    scope = {"scope": {"name": "orchestrator"}, "spans": spans}
    return {"resourceSpans": [{"resource": _attributes({"service.name": service_name}), "scopeSpans": [scope]}]}


def _root(job: JobRow, events: Sequence[Event]) -> dict[str, Any]:
    failure = job.record.get("failure") or {}
    facts = {
        "job.id": job.id,
        "job.name": job.name,
        "job.state": job.state.value,
        "job.attempt": job.attempt,
        "job.engine": job.engine,
        "job.model": job.spec["serve"].get("model"),
        "error.type": failure.get("code"),
    }
    span = _span(job.id, "job", "job", events[0].time, events[-1].time, facts)
    wrong = {"status": {"code": _ERROR, "message": failure.get("message", "")}} if job.state is State.FAILED else {}
    return span | wrong


def _states(job: JobRow, events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """A span from each change of state to the next, with the steps between as its events."""
    changes = [event for event in events if event.type == "state"]
    for begin, end in pairwise(changes):
        steps = [event for event in events if begin.seq < event.seq < end.seq]
        span = _span(job.id, str(begin.seq), begin.state.value, begin.time, end.time, {"job.attempt": begin.attempt})
        yield {**span, "parentSpanId": _id(job.id, "job", 8), "events": [_step(step) for step in steps]}


def _span(job: str, key: str, name: str, begin: str, end: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    times = {"startTimeUnixNano": _nanoseconds(begin), "endTimeUnixNano": _nanoseconds(end)}
    ids = {"traceId": _id(job, "trace", 16), "spanId": _id(job, key, 8)}
    return {**ids, "name": name, "kind": _INTERNAL, **times, **_attributes(facts)}


def _step(event: Event) -> dict[str, Any]:
    facts = _attributes({"message": event.message, "code": event.code})
    return {"timeUnixNano": _nanoseconds(event.time), "name": event.phase, **facts}


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in facts.items() if value is not None}
    kinds = {name: "intValue" if isinstance(value, int) else "stringValue" for name, value in given.items()}
    return {"attributes": [{"key": name, "value": {kinds[name]: str(value)}} for name, value in given.items()]}


def _id(job: str, key: str, size: int) -> str:
    return hashlib.sha256(f"{job}/{key}".encode()).hexdigest()[: 2 * size]


def _nanoseconds(time: str) -> str:
    """ISO 8601 as the decimal text that OTLP's JSON has for 64-bit numbers."""
    return str(int(datetime.fromisoformat(time).timestamp() * 1000) * 1_000_000)
