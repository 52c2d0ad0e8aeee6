"""A served model owned by this process: allocated, started, probed, behind a gateway, torn down with proof.

The runner of a job and a deployment (`orchestrator up`) both use it; neither knows an engine's details.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NoReturn

from clients.errors import ClientError
from clients.gateway import Gateway
from clients.gauges import watch_gauges
from clients.honesty import Honesty
from clients.journal import Journal
from clients.ledger import Ledger
from clients.limiter import Limiter
from clients.pool import Pool
from clients.probe import Generation
from clients.records import RequestRecords
from clients.replica import Replica
from clients.routing import policy
from clients.rules import Rules, build_rules, sampling_in_full
from clients.spec import GatewaySpec, ProbeSpec
from launchers.compress.spec import CompressSpec
from launchers.errors import LaunchError
from launchers.marker import sweep
from launchers.server import Server
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation, allocate, require_engine
from orchestrator.compressing import make
from orchestrator.fingerprint import serving_fingerprint
from orchestrator.leases import Leases
from orchestrator.reclaiming import memory_back, ports_back, proof
from orchestrator.record import Failure, Teardown
from orchestrator.replicas import Household, ReplicaLife, Tell
from orchestrator.secrets import Vault
from orchestrator.settings import Settings

PATIENCE = 5.0
"""Seconds that the sweep by marker may take."""


class Serving:
    """One served model; the methods are called in the order in which they stand here.

    `adaptive`: the number of requests in flight is found (`pool.limiter`), beginning with what suits the engine.
    """

    def __init__(
        self,
        spec: ServeSpec,
        probe: ProbeSpec,
        settings: Settings,
        *,
        owner: str,
        folder: Path,
        tell: Tell,
        gateway: GatewaySpec | None = None,
        adaptive: bool = False,
    ) -> None:
        self.spec = spec
        self.probe_spec = probe
        self.owner = owner
        self.folder = folder
        self._gateway_spec = gateway or GatewaySpec()
        self.pool = Pool(policy(self._gateway_spec.routing))
        self.ledger = Ledger()
        self.honesty = Honesty(lambda: self.pool.in_flight > 0)
        self.vault = Vault(settings.secrets)
        self._adaptive = adaptive
        self._tell = _redacting(tell, self.vault)
        self._leases = Leases(settings, owner)
        self._gateway = AsyncExitStack()
        self._allocation: Allocation | None = None
        self._lives: list[ReplicaLife] = []
        self._memory: dict[int, tuple[int, int]] | None = None
        self._releasing: asyncio.Task[None] | None = None

    @property
    def allocation(self) -> Allocation:
        """What is held; only after `allocate`."""
        if self._allocation is None:
            raise RuntimeError("allocate() comes first")
        return self._allocation

    def redacted(self, failure: Failure) -> Failure:
        """`failure` without the values of secrets, which an engine may have printed."""
        redact = self.vault.redact
        told = {"message": redact(failure.message), "log_tail": redact(failure.log_tail)}
        return failure.model_copy(update=told)

    @property
    def servers(self) -> dict[str, Server]:
        """The processes of the replicas, by name; the last one of those that were started again."""
        return {life.replica.name: life.server for life in self._lives if life.server}

    async def compress(self, spec: CompressSpec, log: Path) -> dict[str, Any]:
        """From here on the produced model is the one that is served; what the record tells of it.

        Raises: EngineMissing, and as `compressing.make`.
        """
        settings = self._leases.settings
        require_engine(self.spec, settings)
        made, self.spec = await make(spec, self.spec, settings, owner=self.owner, log=log, tell=self._tell)
        return {"compress": made}

    def allocate(self) -> Allocation:
        """Lease GPUs and ports. Raises: EngineMissing, GpuUnavailable, PortInUse, ForeignServer."""
        self._allocation = self._allocate()
        if self._adaptive:
            suits = self.spec.max_concurrency or self._allocation.engine.concurrency
            self.pool.limit_by(Limiter(suits * self.spec.replicas))
        return self._allocation

    async def open_gateway(self, *, journal: Path | None = None, records: Path | None = None) -> str:
        """Start the gateway, which holds requests until a replica is ready; returns its URL without `/v1`.

        Answers are kept in `journal`, a row per request in `records` (JSON lines).
        """
        kept = self._journal(journal) if journal else None
        if kept:
            self._gateway.push_async_callback(kept.close)
        rows = RequestRecords(records) if records else None
        if rows:
            self._gateway.callback(rows.close)
        await self._gateway.enter_async_context(self.honesty.watching())
        gateway = Gateway(
            self.pool,
            self.ledger,
            kept,
            served_model=self.spec.served_name,
            request_timeout=self.probe_spec.timeout,
            attempts=self._gateway_spec.attempts,
            rules=self._rules(),
            records=rows,
            honesty=self.honesty,
        )
        host = self.spec.host if self.spec.replicas > 1 else "127.0.0.1"
        return await self._gateway.enter_async_context(gateway.serving(host, self.allocation.gateway_port))

    async def start(self) -> None:
        """Start every replica and wait until each listens as itself.

        Raises: StartFailed, EngineFailed, ForeignServer, StartupTimeout, StartupStalled.
        """
        self._lives = await self._replicas(self._household())
        async with asyncio.TaskGroup() as group:
            for life in self._lives:
                group.create_task(life.start())

    async def probe(self, prove: Callable[[Replica], Awaitable[None]] | None = None) -> Generation:
        """A real generation from every replica, which then takes traffic; returns the first replica's answer.

        `prove` may ask the first replica more, and raise, before any traffic.

        Raises: ProbeFailed, EngineFailed.
        """
        generations = await asyncio.gather(*(life.generate() for life in self._lives))
        if prove:
            await prove(self._lives[0].replica)
        for life in self._lives:
            self.pool.mark_ready(life.replica)
        return generations[0]

    async def guard(self) -> NoReturn:
        """Runs while the model is used; a replica that dies or hangs is started again while its budget lasts.

        Raises: the cause of the last loss, when no replica is left and none will come.
        """
        causes: list[LaunchError | ClientError] = []

        async def watch(life: ReplicaLife) -> None:
            causes.append(await life.live())

        async with asyncio.TaskGroup() as group:
            gauges = self.pool.limiter and group.create_task(watch_gauges(self.pool, self.pool.limiter))
            async with asyncio.TaskGroup() as lives:
                for life in self._lives:
                    lives.create_task(watch(life))
            if gauges:
                gauges.cancel()
        self.pool.close(str(causes[-1]))
        raise causes[-1]

    def restarts(self) -> dict[str, Any]:
        """The replicas of `Allocation.describe`, each with its number of `restarts`; nothing before `start`."""
        if not self._lives:
            return {}
        counts = {life.replica.name: life.replica.restarts for life in self._lives}
        described = self.allocation.describe()["replicas"]
        return {"replicas": [{**replica, "restarts": counts[replica["name"]]} for replica in described]}

    def observed(self) -> dict[str, Any]:
        """What the gateway saw, for the record: the ledger's counts, `limiter` (None: fixed), `honesty`."""
        limiter = self.pool.limiter
        seen = {"limiter": limiter.snapshot() if limiter else None, "honesty": self.honesty.snapshot()}
        return {**self.ledger.snapshot(), **seen}

    def release(self) -> None:
        """Begin to end the engines and give the GPUs back: no request will follow, what is left needs no model."""
        self._releasing = asyncio.create_task(self._release())

    async def stop(self) -> Teardown:
        """End everything, give everything back, and prove it. Safe to call at any point, once."""
        began = time.monotonic()
        self.pool.close("the job is stopping")
        await self._gateway.aclose()
        reports = await asyncio.gather(*(life.stop() for life in self._lives))
        swept = await asyncio.to_thread(sweep, f"{self.owner}/", patience=PATIENCE)
        states = await ports_back(self._ports(), ours_gone=not swept.survivors)
        if self._releasing:
            await self._releasing
        memory = self._memory or await self._memory_back()
        self._leases.close()
        ended = [report for one in reports for report in one]
        files = [server.removed for server in self.servers.values()]
        return proof(ended, swept.killed, swept.survivors, states, memory, files, time.monotonic() - began)

    def _allocate(self) -> Allocation:
        return allocate(self.spec, self._leases, self.folder)

    def _household(self) -> Household:
        return Household(
            self.spec, self.probe_spec, self.allocation, self.pool, self.owner, self.folder, self._tell, self.vault
        )

    async def _replicas(self, house: Household) -> list[ReplicaLife]:
        """What is started and probed: ours, or the one server that is not."""
        if house.allocation.external:
            return [ReplicaLife.external(house, *house.allocation.external)]
        return [ReplicaLife.planned(house, planned) for planned in house.allocation.replicas]

    def _journal(self, path: Path) -> Journal:
        return Journal(path, fingerprint=serving_fingerprint(self.spec, self._gateway_spec, self.allocation))

    def _rules(self) -> Rules:
        engine = self.allocation.engine
        declared = engine.sampling_defaults or engine.greedy_defaults
        in_full = sampling_in_full(engine.sampling_defaults, engine.greedy_defaults)
        first = [in_full] if declared and self._gateway_spec.sampling_in_full else []
        return build_rules(self._gateway_spec.rules, first=first)

    async def _release(self) -> None:
        self.pool.close("inference is over")
        await asyncio.gather(*(life.stop() for life in self._lives))
        # Proved now: as soon as the GPUs are given back, others use their memory.
        self._memory = await self._memory_back()
        self._leases.close_gpus()
        gpus = list(self.allocation.gpus)
        given_back = f", GPUs {gpus} are given back" if gpus else ""
        self._tell("evaluating", f"inference is over: the engine is stopped{given_back}", {"released_gpus": gpus})

    async def _memory_back(self) -> dict[int, tuple[int, int]] | None:
        return await memory_back(self._allocation.gpu_memory if self._allocation else None)

    def _ports(self) -> tuple[int, ...]:
        return self._allocation.ports if self._allocation else ()


def _redacting(tell: Tell, vault: Vault) -> Tell:
    return lambda phase, message, data: tell(phase, vault.redact(message), data)
