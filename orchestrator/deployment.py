"""A deployment: a model served without an evaluation (`orchestrator up`), owned by one process until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from clients.errors import ClientError
from clients.spec import ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.errors import LaunchError
from launchers.spec import ServeSpec
from orchestrator.errors import DeploymentError, OrchestratorError, innermost
from orchestrator.job_folder import is_owned, own, owner_of, replace_text
from orchestrator.record import Failure, Teardown, failure_of, now, unexpected
from orchestrator.serving import Serving
from orchestrator.settings import Settings

Watcher = Callable[[str, str], None]
"""Told of every step: (phase, message)."""


class DeploymentRecord(BaseModel):
    """What `orchestrator ps` knows of a deployment."""

    name: str
    state: str = "starting"
    """`compressing`, `starting`, `probing`, `ready`, `stopping`, then `stopped` or `failed`."""
    serve: ServeSpec
    probe: ProbeSpec
    compress: CompressSpec | None = None
    served: ServeSpec | None = None
    """`serve` with the model that is really served; None while that is still made."""
    url: str | None = None
    """Where clients find the model: the engine with one replica, the gateway with several."""
    gateway_url: str | None = None
    pid: int | None = None
    """Process that owns the deployment."""
    mark: str = ""
    """Marker in the environment of every process of it."""
    resources: dict[str, Any] = {}
    answer: str | None = None
    """What the probe's generation answered."""
    created_at: str
    failure: Failure | None = None
    teardown: Teardown | None = None
    logs: dict[str, str] = {}


class DeploymentFolder:
    """`deployment.json`, `owner.lock` and `logs/` of one deployment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lock(self) -> Path:
        """Held by the owner for as long as it lives."""
        return self.path / "owner.lock"

    def read(self) -> DeploymentRecord | None:
        """The record; None when there is none. One whose owner is gone is `failed` with code `lost`."""
        file = self.path / "deployment.json"
        try:
            record = DeploymentRecord.model_validate_json(file.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            hint = f"it was written by another version; remove {self.path} once nothing of it runs"
            raise DeploymentError(f"{file} cannot be read: {error.error_count()} errors", hint=hint) from error
        if record.state not in ("stopped", "failed") and not is_owned(self.lock):
            lost = Failure(code="lost", message="the process that owned the deployment is gone")
            return record.model_copy(update={"state": "failed", "failure": lost})
        return record

    def write(self, record: DeploymentRecord) -> None:
        """Replace the record in one step."""
        replace_text(self.path / "deployment.json", record.model_dump_json(indent=1))

    def owner(self) -> int | None:
        """Process id of the living owner."""
        return owner_of(self.lock)


def all_deployments(settings: Settings) -> list[DeploymentRecord]:
    """Every deployment that has a folder, by name; records of another version are left out."""
    records = []
    for path in sorted(settings.deployments.glob("*/deployment.json")):
        with contextlib.suppress(DeploymentError):
            records.append(DeploymentFolder(path.parent).read())
    return [record for record in records if record]


def find_deployment(name: str, settings: Settings) -> DeploymentFolder:
    """The folder of a deployment.

    Raises: DeploymentError when there is none of that name.
    """
    folder = DeploymentFolder(settings.deployments / name)
    if folder.read() is None:
        known = ", ".join(record.name for record in all_deployments(settings)) or "none"
        raise DeploymentError(f"no deployment `{name}`", hint=f"`orchestrator ps` lists them: {known}")
    return folder


def new_deployment(
    name: str, serve: ServeSpec, probe: ProbeSpec, settings: Settings, compress: CompressSpec | None = None
) -> DeploymentFolder:
    """A folder for a deployment that is about to start; a dead one of the same name is replaced.

    Raises: DeploymentError when the name is not a plain word, or a deployment of it is alive.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise DeploymentError(f"{name!r} is not a name", hint="use letters, digits, dots, dashes, underscores")
    folder = DeploymentFolder(settings.deployments / name)
    if is_owned(folder.lock):
        raise DeploymentError(f"deployment `{name}` runs already", hint=f"orchestrator down {name}, or --name")
    (folder.path / "logs").mkdir(parents=True, exist_ok=True)
    for log in (folder.path / "logs").iterdir():
        log.unlink()
    folder.write(DeploymentRecord(name=name, serve=serve, probe=probe, compress=compress, created_at=now()))
    return folder


class Deployment:
    """Serves until `stop`; `run` once."""

    def __init__(self, folder: DeploymentFolder, settings: Settings, watcher: Watcher) -> None:
        record = folder.read()
        if record is None:
            raise DeploymentError(f"no deployment in {folder.path}")
        # What nobody owns yet is read as lost.
        fresh = {"state": "starting", "failure": None, "pid": os.getpid(), "mark": f"up-{record.name}-{os.getpid()}"}
        self.record = record.model_copy(update=fresh)
        self._folder = folder
        self._watcher = watcher
        self._settings = settings
        self._serving = Serving(
            record.serve,
            record.probe,
            settings,
            owner=self.record.mark,
            folder=folder.path,
            tell=self._tell,
        )
        self._work: asyncio.Task[None] | None = None
        self._stopped = False

    async def run(self, ready: Callable[[DeploymentRecord], None]) -> DeploymentRecord:
        """Start, call `ready` once it answers, serve until `stop`; returns the record, nothing left running.

        Nothing is started where the record says that it is over.
        """
        lock = own(self._folder.lock)
        try:
            if (written := self._folder.read()) and written.state in ("stopped", "failed"):
                return written  # given up before it began
            self._work = asyncio.create_task(self._serve(ready))
            if self._stopped:
                self._work.cancel()
            await asyncio.wait({self._work})
            failure = self._failure(self._work)
            self._enter("stopping")
            self.record.teardown = await self._serving.stop()
            self.record.failure = failure
            self._enter("failed" if failure else "stopped")
        finally:
            os.close(lock)
        return self.record

    def stop(self) -> None:
        """End it; from a signal handler, at any time."""
        self._stopped = True
        if self._work:
            self._work.cancel()

    async def _serve(self, ready: Callable[[DeploymentRecord], None]) -> None:
        made = await self._compress(self.record.compress) if self.record.compress else {}
        self.record.served = self._serving.spec
        allocation = self._serving.allocate()
        self.record.resources = {**allocation.describe(), **made}
        self.record.gateway_url = await self._serving.open_gateway()
        first = self.record.resources["replicas"][0] if self.record.serve.replicas == 1 else None
        self.record.url = f"http://{first['host']}:{first['port']}" if first else self.record.gateway_url
        self._enter("starting")
        await self._serving.start()
        self._enter("probing")
        self.record.answer = (await self._serving.probe()).text
        self._enter("ready")
        ready(self.record)
        await self._serving.guard()

    async def _compress(self, spec: CompressSpec) -> dict[str, Any]:
        self._enter("compressing")
        return await self._serving.compress(spec, self._folder.path / "logs" / "compress.log")

    def _failure(self, work: asyncio.Task[None]) -> Failure | None:
        if work.cancelled():
            return None
        error = innermost(work.exception() or DeploymentError("every replica ended"))
        if not isinstance(error, LaunchError | ClientError | OrchestratorError):
            return unexpected(error, self._folder.path / "logs" / "deployment.log")
        failure = failure_of(error)
        server = next(iter(self._serving.servers.values()), None)
        if server is None:
            return failure
        told = {"log": str(server.log), "log_tail": server.tail(), "command": server.command.shell()}
        return self._serving.redacted(failure.model_copy(update=told))

    def _enter(self, state: str) -> None:
        self.record.state = state
        self._folder.write(self.record)
        self._watcher(state, "")

    def _tell(self, phase: str, message: str, data: Mapping[str, Any]) -> None:
        if "pid" in data:
            name = phase.rsplit("/", 1)[-1]
            self.record.logs[name] = str(self._folder.path / "logs" / f"{name}.log")
            self._folder.write(self.record)
        self._watcher(phase, message)
