"""The service from Python: what its routes do as methods, its documents as models, its problems as exceptions."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from clients.service.connection import SILENCE, Connection
from clients.service.errors import ServiceUnreachable, StillRunning
from clients.service.models import (
    Artifact,
    AuditLine,
    Comparison,
    DatasetResult,
    Deployment,
    Document,
    EngineInfo,
    EvaluatorInfo,
    Event,
    Job,
    JobSummary,
    Log,
    Page,
    Resources,
    Sample,
    State,
)
from clients.service.routes import Route
from clients.service.sse import data_of

Spec = Mapping[str, Any] | Path
"""A spec as a mapping, or a YAML or JSON file, which is sent as it is."""
PAUSE = 0.5
"""Seconds between two looks at what is not streamed, and before a stream is opened again."""
LEAST = 0.2
"""Seconds that are read at least once a stream is open, however long that took."""
BLOCK = 64 * 1024
_FOR_EVER = 86400.0  # a log may say nothing for long
Shown = TypeVar("Shown", bound=Document)


class ServiceClient:
    """One service. Use it as a context manager, or `close` it. Safe to share between threads.

    Every method raises ServiceError. What may be repeated without harm (reading; submitting and retrying, which carry
    an idempotency key) is repeated for `patience` seconds when a connection breaks or the service restarts; anything
    else only when it surely did not arrive.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout: float = 30.0, patience: float = 60.0) -> None:
        self._service = Connection(url, token, timeout, patience)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._service.url

    def close(self) -> None:
        """Close every connection."""
        self._service.close()

    # Jobs

    def submit(self, spec: Spec, *, idempotency_key: str | None = None) -> Job:
        """Queue a job. The same key and spec give the same job, however often it is sent; default: a fresh key.

        Raises: SpecRefused with every error, PolicyRefused, IdempotencyConflict, QueueFull.
        """
        return self._post_once(Route.JOBS.at(), idempotency_key, **_body(spec))

    def plan(self, spec: Spec) -> dict[str, Any]:
        """What a job would do: argv, environment, ports, GPUs; nothing is started. Raises: as `submit`."""
        found = self._service.ask_json("POST", Route.JOBS.at(), again=True, params={"dry_run": "true"}, **_body(spec))
        return dict(found)

    def job(self, job: str) -> Job:
        """A job as it is now."""
        return self._get(Job, Route.JOB.at(job=job))

    def jobs(
        self,
        *,
        state: State | str | None = None,
        engine: str | None = None,
        labels: Mapping[str, str] | None = None,
        page: int | None = None,
    ) -> Iterator[JobSummary]:
        """Jobs, newest first, fetched `page` at a time (default: as the service likes)."""
        label = [f"{key}:{value}" for key, value in (labels or {}).items()]
        return self._pages(JobSummary, Route.JOBS.at(), {"state": state, "engine": engine, "label": label}, page)

    def cancel(self, job: str, *, version: int | None = None, if_state: State | str | None = None) -> Job:
        """End a job; only if its version or state is still this one. Raises: Conflict when it is over."""
        return self._change(Job, "POST", Route.CANCEL.at(job=job), version, if_state)

    def retry(self, job: str, *, idempotency_key: str | None = None) -> Job:
        """A new job with the same spec that reuses every answer already obtained. Raises: Conflict while it runs."""
        return self._post_once(Route.RETRY.at(job=job), idempotency_key)

    def delete(self, job: str, *, version: int | None = None, if_state: State | str | None = None) -> None:
        """Remove a job that is over, record and files. Raises: Conflict while it is not."""
        self._service.ask("DELETE", Route.JOB.at(job=job), **_precondition(version, if_state))

    def wait(self, job: str, timeout: float | None = None, *, watch: Callable[[Event], None] | None = None) -> Job:
        """The job once it is over; `watch` is called with each event. Raises: StillRunning after `timeout` seconds."""
        for event in self.events(job, timeout=timeout):
            if watch:
                watch(event)
        found = self.job(job)
        if not found.state.terminal:
            raise StillRunning(f"job {job} is {found.state} after {timeout} s", hint="it goes on")
        return found

    def events(self, job: str, *, after: int = 0, timeout: float | None = None) -> Iterator[Event]:
        """Events with a `seq` larger than `after`, as they come, up to the terminal one: none lost, none twice.

        A lost connection is taken up again where it broke. After `timeout` seconds it ends quietly.
        """
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):  # lost, or silent until the end of our time
                silence = min(SILENCE, max(0.01, end - time.monotonic()))
                path, headers = Route.EVENTS.at(job=job), {"Last-Event-ID": str(after)}
                with self._service.streaming(path, silence=silence, headers=headers) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    for event in _events(answer, max(end, time.monotonic() + LEAST)):
                        after = event.seq
                        yield event
                        if event.state.terminal:
                            return
            time.sleep(max(0.0, min(PAUSE, end - time.monotonic())))

    # What a job leaves

    def logs(self, job: str, *, attempt: int | None = None) -> list[Log]:
        """The logs of a job's last attempt, or of an earlier one."""
        return self._get(Page[Log], Route.LOGS.at(job=job), attempt=attempt).items

    def log(
        self, job: str, name: str, *, follow: bool = False, tail: int | None = None, attempt: int | None = None
    ) -> Iterator[bytes]:
        """The text of a log in pieces: all of it or the last `tail` lines; with `follow` until the job is over.

        A lost connection is taken up again where it broke; with `tail` it is raised as ServiceUnreachable.
        """
        path = Route.LOG.at(job=job, name=name)
        asked = _given(follow="true" if follow else None, tail=tail, attempt=attempt)
        seen = 0
        while True:
            try:
                with self._service.streaming(path, silence=_FOR_EVER, params=asked) as answer:
                    for piece in _after(seen, answer.iter_bytes(BLOCK)):
                        seen += len(piece)
                        yield piece
                if not follow or attempt is not None or self.job(job).state.terminal:
                    return
                why = "the service stopped"
            except httpx.TransportError as error:
                why = str(error) or type(error).__name__
            if tail is not None:
                raise ServiceUnreachable(f"log {name} of job {job} broke off: {why}", hint="ask again")
            time.sleep(PAUSE)

    def results(self, job: str) -> list[DatasetResult]:
        """Scores, over the answered samples."""
        return self._get(Page[DatasetResult], Route.RESULTS.at(job=job)).items

    def samples(self, job: str, *, page: int | None = None) -> Iterator[Sample]:
        """What became of each question; nothing until the job is over."""
        return self._pages(Sample, Route.SAMPLES.at(job=job), {}, page)

    def artifacts(self, job: str, *, page: int | None = None) -> Iterator[Artifact]:
        """The job's files, by path."""
        return self._pages(Artifact, Route.ARTIFACTS.at(job=job), {}, page)

    def artifact(self, job: str, path: str) -> bytes:
        """One file, whole."""
        return self._service.ask("GET", Route.ARTIFACT.at(job=job, path=path), again=True).content

    def download(self, job: str, path: str, to: Path) -> Path:
        """One file of any size, written to `to`; there is no file before it is whole."""
        part = to.with_name(f".{to.name}.part")
        try:
            with self._service.streaming(Route.ARTIFACT.at(job=job, path=path)) as answer, part.open("wb") as file:
                for piece in answer.iter_bytes(BLOCK):
                    file.write(piece)
            part.replace(to)
        except httpx.TransportError as error:
            raise ServiceUnreachable(f"{path} of job {job} broke off: {error}", hint="ask again") from error
        finally:
            part.unlink(missing_ok=True)
        return to

    # Deployments

    def deploy(self, spec: Spec) -> Deployment:
        """Serve a model: `{name, serve, probe, compress, keep_alive}`, all but `serve` optional. See `wait_ready`.

        Raises: SpecRefused, PolicyRefused, Conflict (the name is taken, no GPU is free).
        """
        return Deployment.model_validate(self._service.ask_json("POST", Route.DEPLOYMENTS.at(), **_body(spec)))

    def plan_deployment(self, spec: Spec) -> dict[str, Any]:
        """What `deploy` would start."""
        asked = {"params": {"dry_run": "true"}, **_body(spec)}
        return dict(self._service.ask_json("POST", Route.DEPLOYMENTS.at(), again=True, **asked))

    def deployment(self, id_or_name: str) -> Deployment:
        """A deployment as it is now; a name means the living one."""
        return self._get(Deployment, Route.DEPLOYMENT.at(deployment=id_or_name))

    def deployments(self, *, living: bool = False) -> list[Deployment]:
        """All deployments, newest first, or those that live."""
        return self._get(Page[Deployment], Route.DEPLOYMENTS.at(), living="true" if living else None).items

    def undeploy(self, id_or_name: str, *, version: int | None = None) -> Deployment:
        """Begin to stop it. Raises: Conflict while jobs use it."""
        return self._change(Deployment, "DELETE", Route.DEPLOYMENT.at(deployment=id_or_name), version)

    def wait_deployment(
        self,
        deployment: str,
        done: Callable[[Deployment], bool],
        *,
        timeout: float | None = None,
        watch: Callable[[Deployment], None] | None = None,
    ) -> Deployment:
        """The deployment as soon as `done` says so, or it is over; `watch` sees each look at it.

        Raises: StillRunning after `timeout` seconds.
        """
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        while True:
            found = self.deployment(deployment)
            if watch:
                watch(found)
            if done(found) or not found.state.living:
                return found
            if time.monotonic() > end:
                raise StillRunning(f"deployment {found.name} is {found.state} after {timeout} s", hint="it goes on")
            time.sleep(PAUSE)

    # Comparisons

    def compare(self, spec: Spec) -> Comparison:
        """Evaluate several served models alike: one job per variant, then what the differences are."""
        return Comparison.model_validate(self._service.ask_json("POST", Route.COMPARISONS.at(), **_body(spec)))

    def comparison(self, comparison: str) -> Comparison:
        """A comparison as it is now."""
        return self._get(Comparison, Route.COMPARISON.at(comparison=comparison))

    def comparisons(self, *, page: int | None = None) -> Iterator[Comparison]:
        """Comparisons, newest first."""
        return self._pages(Comparison, Route.COMPARISONS.at(), {}, page)

    def comparison_artifact(self, comparison: str, path: str) -> bytes:
        """One file of it, whole: `comparison.html`, `comparison.md`, `flips.jsonl`, ..."""
        route = Route.COMPARISON_ARTIFACT.at(comparison=comparison, path=path)
        return self._service.ask("GET", route, again=True).content

    def cancel_comparison(
        self, comparison: str, *, version: int | None = None, if_state: str | None = None
    ) -> Comparison:
        """End its jobs that are not over; it is `cancelled` after them. Raises: Conflict when it is over."""
        return self._change(Comparison, "POST", Route.CANCEL_COMPARISON.at(comparison=comparison), version, if_state)

    def delete_comparison(self, comparison: str, *, version: int | None = None, if_state: str | None = None) -> None:
        """Remove one that is over, record and files; its jobs stay. Raises: Conflict while it is not."""
        self._service.ask("DELETE", Route.COMPARISON.at(comparison=comparison), **_precondition(version, if_state))

    # The service itself

    def engines(self) -> list[EngineInfo]:
        """The engines: installed or not, and what they honour."""
        return self._get(Page[EngineInfo], Route.ENGINES.at()).items

    def evaluators(self) -> list[EvaluatorInfo]:
        """The evaluators: installed or not."""
        return self._get(Page[EvaluatorInfo], Route.EVALUATORS.at()).items

    def resources(self) -> Resources:
        """GPUs, leases, ports, and how much runs and waits."""
        return self._get(Resources, Route.RESOURCES.at())

    def audit(self, *, page: int | None = None) -> Iterator[AuditLine]:
        """Who did what, newest first; for admins."""
        return self._pages(AuditLine, Route.AUDIT.at(), {}, page)

    def metrics(self) -> str:
        """Figures in Prometheus' text format."""
        return self._service.ask("GET", Route.METRICS.at(), again=True).text

    def check_ready(self) -> None:
        """Nothing when it accepts work; it is waited for, as long as the client's patience. Raises: ServiceNotReady."""
        self._service.ask("GET", Route.READYZ.at(), again=True)

    def check_alive(self) -> None:
        """Nothing when it answers. Raises: ServiceUnreachable."""
        self._service.ask("GET", Route.HEALTHZ.at(), again=True)

    def _get(self, kind: type[Shown], path: str, **query: Any) -> Shown:
        return kind.model_validate(self._service.ask_json("GET", path, again=True, params=_given(**query)))

    def _pages(self, kind: type[Shown], path: str, query: Mapping[str, Any], size: int | None) -> Iterator[Shown]:
        cursor: str | None = None
        while True:
            page = self._get(Page[kind], path, **query, limit=size, cursor=cursor)  # type: ignore[valid-type]
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _post_once(self, path: str, key: str | None, **parts: Any) -> Job:
        headers = {**parts.pop("headers", {}), "Idempotency-Key": key or uuid.uuid4().hex}
        return Job.model_validate(self._service.ask_json("POST", path, again=True, headers=headers, **parts))

    def _change(
        self, kind: type[Shown], method: str, path: str, version: int | None, state: State | str | None = None
    ) -> Shown:
        return kind.model_validate(self._service.ask_json(method, path, **_precondition(version, state)))


def _body(spec: Spec) -> dict[str, Any]:
    if isinstance(spec, Path):
        kind = "json" if spec.suffix == ".json" else "yaml"
        return {"content": spec.read_bytes(), "headers": {"Content-Type": f"application/{kind}"}}
    return {"json": dict(spec)}


def _precondition(version: int | None, state: State | str | None) -> dict[str, Any]:
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return {"headers": headers, "params": _given(if_state=state)}


def _given(**query: Any) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, State) else value
        for name, value in query.items()
        if value not in (None, [])
    }


def _events(answer: httpx.Response, end: float) -> Iterator[Event]:
    """The events of one stream, until `end` on the monotonic clock."""
    for data in data_of(answer.iter_lines()):
        if data is not None:
            yield Event.model_validate_json(data)
        if time.monotonic() > end:
            return


def _after(seen: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What comes after the first `seen` bytes."""
    for piece in pieces:
        if new := piece[seen:]:
            yield new
        seen = max(0, seen - len(piece))
