"""The leases of one owner: taken one by one, given back all together."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from launchers.gpus import discover, lease_gpus
from launchers.ports import lease_port
from orchestrator.settings import Settings


class Leases:
    """GPUs and ports held for one job or deployment until `close`; also a context manager."""

    def __init__(self, settings: Settings, owner: str) -> None:
        self.descriptors: list[int] = []
        """Of the locks: what a shim holds, so that a lease outlives a killed runner until its tree is gone."""
        self.settings = settings
        self._owner = owner
        self._ports = ExitStack()
        self._gpus = ExitStack()

    def port(self, wanted: int | None = None, *, host: str = "127.0.0.1") -> int:
        """Lease `wanted`, or any free port of the operator's range. Raises: PortInUse, ForeignServer."""
        settings = self.settings
        lease = lease_port(settings.port_leases, owner=self._owner, wanted=wanted, ports=settings.ports, host=host)
        self._ports.enter_context(lease)
        self.descriptors.append(lease.fileno())
        return lease.port

    def gpus(self, count: int, wanted: list[int] | None = None) -> tuple[int, ...]:
        """Lease `count` GPUs, all or none; exactly `wanted` when given. Raises: GpuUnavailable."""
        if count == 0:
            return ()
        inventory = discover(self.settings.gpus)
        lease = lease_gpus(self.settings.gpu_leases, inventory, owner=self._owner, count=count, wanted=wanted)
        self._gpus.enter_context(lease)
        self.descriptors.extend(lease.filenos())
        return lease.indices

    def close_gpus(self) -> None:
        """Give the GPUs back, keep the ports. Idempotent."""
        self._gpus.close()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self.close_gpus()
        self._ports.close()
        self.descriptors.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
