"""A served model owned by this process: allocated, started, probed, behind a gateway, torn down with proof.

The runner of a job and a deployment (`orchestrator up`) both use it; neither knows an engine's details.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clients.errors import ClientError
from clients.gateway import Gateway
from clients.health import watch_replica
from clients.journal import Journal
from clients.ledger import Ledger
from clients.pool import Pool
from clients.probe import Generation, generate
from clients.readiness import wait_listening
from clients.replica import Replica
from clients.spec import ProbeSpec
from launchers.errors import EngineFailed, LaunchError
from launchers.gpus import memory_used
from launchers.marker import sweep
from launchers.ports import is_listening, wait_free
from launchers.process import StopReport
from launchers.server import Server
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation, PlannedReplica, allocate
from orchestrator.fingerprint import serving_fingerprint
from orchestrator.leases import Leases
from orchestrator.record import Teardown
from orchestrator.settings import Settings

Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Told of every step: (phase, message, data)."""

PATIENCE = 5.0
"""Seconds that the sweep by marker may take."""
PORT_PATIENCE = 10.0
"""Seconds that a port may take to be free after its owner is gone."""
GPU_PATIENCE = 60.0
"""Seconds that a driver may take to give memory back: one was seen to hold it for over 30 s."""
GPU_TOLERANCE = 256 * 2**20
"""Bytes by which the memory in use may differ from before the start."""


class Serving:
    """One served model; the methods are called in the order in which they stand here."""

    def __init__(
        self, spec: ServeSpec, probe: ProbeSpec, settings: Settings, *, owner: str, folder: Path, tell: Tell
    ) -> None:
        self.spec = spec
        self.probe_spec = probe
        self.owner = owner
        self.folder = folder
        self.pool = Pool()
        self.ledger = Ledger()
        self.servers: dict[str, Server] = {}
        self._tell = tell
        self._leases = Leases(settings, owner)
        self._gateway = AsyncExitStack()
        self._allocation: Allocation | None = None
        self._replicas: dict[str, Replica] = {}
        self._memory: dict[int, tuple[int, int]] | None = None
        self._releasing: asyncio.Task[None] | None = None

    @property
    def allocation(self) -> Allocation:
        """What is held; only after `allocate`."""
        if self._allocation is None:
            raise RuntimeError("allocate() comes first")
        return self._allocation

    def allocate(self) -> Allocation:
        """Lease GPUs and ports. Raises: EngineMissing, GpuUnavailable, PortInUse, ForeignServer."""
        self._allocation = allocate(self.spec, self._leases, self.folder)
        return self._allocation

    async def open_gateway(self, journal: Path | None) -> str:
        """Start the gateway, which holds requests until a replica is ready; returns its URL without `/v1`."""
        kept = Journal(journal, fingerprint=serving_fingerprint(self.spec, self.allocation)) if journal else None
        if kept:
            self._gateway.push_async_callback(kept.close)
        gateway = Gateway(
            self.pool,
            self.ledger,
            kept,
            served_model=self.spec.served_name,
            request_timeout=self.probe_spec.timeout,
        )
        host = self.spec.host if self.spec.replicas > 1 else "127.0.0.1"
        return await self._gateway.enter_async_context(gateway.serving(host, self.allocation.gateway_port))

    async def start(self) -> None:
        """Start every replica and wait until each listens as itself.

        Raises: StartFailed, EngineFailed, ForeignServer, StartupTimeout, StartupStalled.
        """
        if self.allocation.external:
            await self._reach_external(*self.allocation.external)
            return
        async with asyncio.TaskGroup() as group:
            for planned in self.allocation.replicas:
                group.create_task(self._start(planned))

    async def probe(self) -> Generation:
        """A real generation from every replica, which then takes traffic; returns the first replica's answer.

        Raises: ProbeFailed, EngineFailed.
        """
        generations = await asyncio.gather(*(self._generate(replica) for replica in self._replicas.values()))
        for replica in self._replicas.values():
            self.pool.mark_ready(replica)
        return generations[0]

    async def guard(self) -> None:
        """Runs while the model is used; a replica that dies or hangs is taken out of the pool.

        Raises: the error of the last replica, when none is left: EngineFailed or EngineUnresponsive.
        """
        async with asyncio.TaskGroup() as group:
            for name in self._replicas:
                group.create_task(self._guard(name))

    def release(self) -> None:
        """Begin to end the engines and give the GPUs back: no request will follow, what is left needs no model."""
        self._releasing = asyncio.create_task(self._release())

    async def stop(self) -> Teardown:
        """End everything, give everything back, and prove it. Safe to call at any point, once."""
        began = time.monotonic()
        self.pool.close("the job is stopping")
        await self._gateway.aclose()
        reports = await asyncio.gather(*(server.stop() for server in self.servers.values()))
        swept = await asyncio.to_thread(sweep, f"{self.owner}/", patience=PATIENCE)
        ports = self._allocation.ports if self._allocation else ()
        # Nothing of ours is left to listen, so whoever does is somebody else.
        foreign = frozenset(port for port in ports if is_listening(port)) if not swept.survivors else frozenset()
        held = await wait_free((port for port in ports if port not in foreign), timeout=PORT_PATIENCE)
        states = {port: "foreign" if port in foreign else "held" if port in held else "free" for port in ports}
        if self._releasing:
            await self._releasing
        memory = self._memory or await self._memory_back()
        self._leases.close()
        return _proof(reports, swept.killed, swept.survivors, states, memory, time.monotonic() - began)

    async def _release(self) -> None:
        self.pool.close("inference is over")
        await asyncio.gather(*(server.stop() for server in self.servers.values()))
        # Proved now: as soon as the GPUs are given back, others use their memory.
        self._memory = await self._memory_back()
        self._leases.close_gpus()
        self._tell("evaluating", "inference is over: the engine is stopped, its GPUs are given back", {})

    async def _reach_external(self, host: str, port: int) -> None:
        replica = Replica("external", host, port, model=self.spec.model or self.spec.served_name)
        self._replicas["external"] = replica
        self.pool.add(replica)

    async def _start(self, planned: PlannedReplica) -> None:
        place, name = planned.place, planned.name
        server = await Server.start(
            self.allocation.engine,
            planned.launch,
            planned.command,
            place,
            log=self.folder / "logs" / f"{name}.log",
            mark=f"{self.owner}/{name}",
            held=self.allocation.locks,
        )
        self.servers[name] = server
        self._tell(f"starting/{name}", f"process {server.tree.pid} started", {"pid": server.tree.pid})
        replica = Replica(name, _reachable(place.host), place.port, model=server.engine.model_name(self.spec))
        self._replicas[name] = replica
        self.pool.add(replica)
        ready = server.engine.readiness_for(self.spec)
        listening = await wait_listening(
            replica.base_url,
            server,
            health_path=ready.health_path,
            expected_model=replica.model if ready.lists_model else None,
            startup_timeout=self.spec.startup_timeout,
            stall_timeout=self.spec.stall_timeout,
        )
        rungs = {rung.name: round(rung.seconds, 2) for rung in listening.rungs}
        self._tell(f"starting/{name}", f"listens on {place.host}:{place.port}", {"rungs": rungs})

    async def _generate(self, replica: Replica) -> Generation:
        server = self.servers.get(replica.name)
        asked = asyncio.create_task(self._ask(replica))
        if server is None:
            return await asked
        died = asyncio.create_task(_ended(server))
        try:
            await asyncio.wait({asked, died}, return_when=asyncio.FIRST_COMPLETED)
            if died.done() and not (asked.done() and asked.exception() is None):
                raise server.failure()
            answer = await asked
            self._tell(f"probing/{replica.name}", f"answered {answer.text[:80]!r}", asdict(answer))
            return answer
        finally:
            for task in (asked, died):
                task.cancel()
            await asyncio.gather(asked, died, return_exceptions=True)

    async def _ask(self, replica: Replica) -> Generation:
        return await generate(
            replica.base_url,
            model=replica.model or self.spec.served_name,
            prompt=self.probe_spec.prompt,
            max_tokens=self.probe_spec.max_tokens,
            timeout=self.probe_spec.timeout,
        )

    async def _guard(self, name: str) -> None:
        replica = self._replicas[name]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outlive(name))
                group.create_task(
                    watch_replica(
                        replica,
                        lambda: self._ask(replica),
                        interval=self.probe_spec.interval,
                        timeout=self.probe_spec.timeout,
                    )
                )
        except* (LaunchError, ClientError) as failures:
            first = failures.exceptions[0]
            self.pool.mark_dead(replica, str(first))
            self._tell(f"evaluating/{name}", f"replica lost: {first}", {})
            if all(other.state == "dead" for other in self.pool.replicas):
                self.pool.close(str(first))
                raise first from None

    async def _outlive(self, name: str) -> None:
        server = self.servers.get(name)
        if server:
            await _ended(server)
            raise server.failure()

    async def _memory_back(self) -> dict[int, tuple[int, int]] | None:
        before = self._allocation.gpu_memory if self._allocation else None
        if not before:
            return None
        deadline = time.monotonic() + GPU_PATIENCE
        while True:
            after = memory_used(tuple(before)) or {}
            held = {gpu: (used, after.get(gpu, used)) for gpu, used in before.items()}
            if all(now - then <= GPU_TOLERANCE for then, now in held.values()) or time.monotonic() > deadline:
                return held
            await asyncio.sleep(0.5)


async def _ended(server: Server) -> None:
    """Return when the replica's process is gone, however."""
    with contextlib.suppress(EngineFailed):  # its supervisor was killed: gone as well
        await server.tree.wait()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host


def _proof(
    reports: list[StopReport],
    killed: tuple[int, ...],
    survivors: tuple[int, ...],
    ports: dict[int, str],
    memory: dict[int, tuple[int, int]] | None,
    seconds: float,
) -> Teardown:
    left = sorted({*survivors, *(pid for report in reports for pid in report.survivors)})
    swept = sorted({*killed, *(pid for report in reports for pid in report.swept)})
    memory_back = all(after - before <= GPU_TOLERANCE for before, after in (memory or {}).values())
    return Teardown(
        clean=not left and "held" not in ports.values() and memory_back,
        processes=len({pid for report in reports for pid in report.seen}),
        survivors=left,
        swept=swept,
        ports=ports,
        gpu_memory=memory,
        seconds=round(seconds, 3),
    )
