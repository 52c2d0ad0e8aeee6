"""A model that a deployment serves, as the job sees it that uses it: waited for, talked to, left running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clients.spec import GatewaySpec, ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation, borrow
from orchestrator.deployment import DeploymentFolder, DeploymentRecord
from orchestrator.errors import DeploymentFailed
from orchestrator.replicas import Household, ReplicaLife, Tell
from orchestrator.serving import Serving
from orchestrator.settings import Settings

POLL = 0.05
"""Seconds between two looks at the deployment's record."""


class BorrowedServing(Serving):
    """As `Serving`, for a server of the service's that other jobs use before and after.

    The job has a gateway and a journal of its own, with the fingerprint that it would have if it served itself.
    """

    def __init__(
        self,
        deployment: DeploymentFolder,
        spec: ServeSpec,
        probe: ProbeSpec,
        settings: Settings,
        *,
        owner: str,
        folder: Path,
        tell: Tell,
        gateway: GatewaySpec,
        adaptive: bool = False,
    ) -> None:
        super().__init__(
            spec, probe, settings, owner=owner, folder=folder, tell=tell, gateway=gateway, adaptive=adaptive
        )
        self._deployment = deployment

    async def compress(self, spec: CompressSpec, log: Path) -> dict[str, Any]:
        """Wait until the deployment has made the model. Raises: DeploymentFailed."""
        record = await self._reached(lambda record: record.served is not None)
        self.spec = record.served or self.spec
        return {key: value for key, value in record.resources.items() if key == "compress"}

    def _allocate(self) -> Allocation:
        return borrow(self.spec, self._leases)

    async def _replicas(self, house: Household) -> list[ReplicaLife]:
        """The deployment's gateway, once it has answered itself. Raises: DeploymentFailed."""
        record = await self._reached(lambda record: record.state == "ready")
        parts = urlsplit(record.gateway_url or "")
        self._tell("starting", f"deployment {record.name} serves", {"deployment": record.name, "url": record.url})
        return [ReplicaLife.borrowed(house, parts.hostname or "127.0.0.1", parts.port or 0)]

    async def _release(self) -> None:
        self.pool.close("inference is over")
        self._tell("evaluating", "inference is over: the deployment is free for the next job", {"released_gpus": []})

    async def _reached(self, there: Callable[[DeploymentRecord], bool]) -> DeploymentRecord:
        while True:
            record = self._living()
            if record and there(record):
                return record
            await asyncio.sleep(POLL)

    def _living(self) -> DeploymentRecord | None:
        """Its record; None while it has no owner (not yet, or the owner was killed and the service will know), and
        while it stops: why, it says at its end. Raises: DeploymentFailed.
        """
        record = self._deployment.read()
        failure = record.failure if record else None
        if record is None or record.state == "stopping" or (failure and failure.code == "lost"):
            return None
        if record.state in ("stopped", "failed"):
            why = failure.message if failure else "it was stopped"
            told = {"log": failure.log, "log_tail": failure.log_tail, "command": failure.command} if failure else {}
            raise DeploymentFailed(
                f"deployment {record.name}: {why}",
                code=failure.code if failure else "failed",
                hint=failure.hint if failure else "run the job again",
                told=told,
            )
        return record
