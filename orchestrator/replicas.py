"""One replica's life: started, proved by a generation, watched, lost, started again, until its budget is spent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clients.errors import ClientError
from clients.health import watch_breaker, watch_replica
from clients.pool import Pool
from clients.probe import Generation, generate
from clients.readiness import wait_listening
from clients.replica import Replica
from clients.spec import ProbeSpec
from launchers.engine import Engine
from launchers.errors import EngineFailed, LaunchError
from launchers.ports import wait_free
from launchers.process import StopReport
from launchers.server import Server
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation, PlannedReplica
from orchestrator.reclaiming import PORT_PATIENCE, memory_back
from orchestrator.secrets import Vault

Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Told of every step: (phase, message, data)."""

FIRST_PAUSE = 0.5
"""Seconds before the first restart; twice as many before each further one."""
LONGEST_PAUSE = 30.0
KILL_GRACE = 2.0
"""Seconds that a replica that hangs, or what a dead one left behind, gets to end after SIGTERM."""
SICK = 30.0
"""Seconds of nothing but errors after which a replica counts as hung; less where `probe.timeout` is less."""


@dataclass(frozen=True, slots=True)
class Household:
    """What the replicas of one served model share."""

    spec: ServeSpec
    probe: ProbeSpec
    allocation: Allocation
    pool: Pool
    owner: str
    folder: Path
    tell: Tell
    vault: Vault
    """Resolves the secrets that the spec refers to."""


class ReplicaLife:
    """A replica from its first start to its last end; one that is not ours (`planned` is None) is only watched."""

    def __init__(self, household: Household, replica: Replica, planned: PlannedReplica | None) -> None:
        self.replica = replica
        self.server: Server | None = None
        """Its process, the last one."""
        self._house = household
        self._planned = planned
        self._reports: list[StopReport] = []
        self._up_at = 0.0

    @classmethod
    def planned(cls, household: Household, planned: PlannedReplica) -> ReplicaLife:
        """The life of a replica of ours, before its start; it is in the pool, and takes no request yet."""
        place, engine = planned.place, household.allocation.engine
        replica = Replica(planned.name, _reachable(place.host), place.port, model=engine.model_name(household.spec))
        household.pool.add(replica)
        return cls(household, replica, planned)

    @classmethod
    def external(cls, household: Household, host: str, port: int) -> ReplicaLife:
        """The life of a server that is not ours."""
        spec = household.spec  # with a name of its own, `model` is only where the tokenizer lies
        name = spec.served_model_name or spec.model or spec.served_name
        replica = Replica("external", host, port, model=name)
        household.pool.add(replica)
        return cls(household, replica, None)

    @classmethod
    def borrowed(cls, household: Household, host: str, port: int) -> ReplicaLife:
        """The life of a deployment's gateway: it knows the model by the name that it is served under."""
        replica = Replica("deployment", host, port, model=household.spec.served_name)
        household.pool.add(replica)
        return cls(household, replica, None)

    async def start(self) -> None:
        """Start the process and wait until it listens as itself; nothing for a server that is not ours.

        Raises: SecretMissing, StartFailed, EngineFailed, ForeignServer, StartupTimeout, StartupStalled.
        """
        if self._planned is None:
            return
        place, name, house = self._planned.place, self._planned.name, self._house
        engine = house.allocation.engine
        server = self.server = await Server.start(
            engine,
            self._planned.launch,
            self._planned.command,
            place,
            log=house.folder / "logs" / f"{name}.log",
            mark=f"{house.owner}/{name}",
            held=house.allocation.locks,
            secrets=house.vault.resolve(house.spec.env),
        )
        house.tell(f"starting/{name}", f"process {server.tree.pid} started", {"pid": server.tree.pid})
        rungs = await self._listening(server, engine)
        house.tell(f"starting/{name}", f"listens on {place.host}:{place.port}", {"rungs": rungs})

    async def generate(self) -> Generation:
        """A real generation, given up at once when the process dies. Raises: ProbeFailed, EngineFailed."""
        asked = asyncio.create_task(self._ask())
        if self.server is None:
            return await asked
        died = asyncio.create_task(_ended(self.server))
        try:
            await asyncio.wait({asked, died}, return_when=asyncio.FIRST_COMPLETED)
            if died.done() and not (asked.done() and asked.exception() is None):
                raise self.server.failure()
            answer = await asked
            self._house.tell(f"probing/{self.replica.name}", f"answered {answer.text[:80]!r}", asdict(answer))
            return answer
        finally:
            for task in (asked, died):
                task.cancel()
            await asyncio.gather(asked, died, return_exceptions=True)

    async def live(self) -> LaunchError | ClientError:
        """Watch it, and start it again when it is lost; returns why it is gone for good."""
        self.replica.watched = True
        try:
            while True:
                cause = await self._death()
                lost_at = time.monotonic()
                while True:
                    self._lose(cause)
                    if self._planned is None or self.replica.restarts >= self._house.spec.max_restarts:
                        return cause
                    try:
                        await self._restart(self._planned, cause)
                        break
                    except (LaunchError, ClientError) as error:
                        cause = error
                self._readmit(cause, time.monotonic() - lost_at)
        finally:
            self.replica.watched = False

    async def stop(self) -> list[StopReport]:
        """End the process; how it and those before it ended."""
        return [*self._reports, await self.server.stop()] if self.server else []

    async def _listening(self, server: Server, engine: Engine) -> dict[str, float]:
        spec = self._house.spec
        ready = engine.readiness_for(spec)
        listening = await wait_listening(
            self.replica.base_url,
            server,
            health_path=ready.health_path,
            expected_model=self.replica.model if ready.lists_model else None,
            startup_timeout=spec.startup_timeout,
            stall_timeout=spec.stall_timeout,
        )
        return {rung.name: round(rung.seconds, 2) for rung in listening.rungs}

    async def _ask(self) -> Generation:
        probe = self._house.probe
        return await generate(
            self.replica.base_url,
            model=self.replica.model or self._house.spec.served_name,
            prompt=probe.prompt,
            max_tokens=probe.max_tokens,
            timeout=probe.timeout,
        )

    async def _death(self) -> LaunchError | ClientError:
        """Why it is lost, as soon as it is."""
        self._up_at = asyncio.get_running_loop().time()
        probe = self._house.probe
        causes: list[LaunchError | ClientError] = []
        try:
            async with asyncio.TaskGroup() as group:
                if self.server:
                    group.create_task(_outlive(self.server))
                group.create_task(
                    watch_replica(self.replica, self._ask, interval=probe.interval, timeout=probe.timeout)
                )
                group.create_task(watch_breaker(self.replica, self._ask, patience=min(SICK, probe.timeout)))
        except* (LaunchError, ClientError) as failures:
            causes.extend(error for error in failures.exceptions if isinstance(error, LaunchError | ClientError))
        return causes[0]

    def _lose(self, cause: LaunchError | ClientError) -> None:
        spec, replica = self._house.spec, self.replica
        left = max(0, spec.max_restarts - replica.restarts) if self._planned else 0
        quiet = round(asyncio.get_running_loop().time() - max(self._up_at, replica.last_success), 2)
        data = {"replica": replica.name, "cause": cause.code, "restarts_left": left, "quiet": quiet}
        self._house.pool.mark_dead(replica, str(cause))
        self._house.tell(f"evaluating/{replica.name}", f"replica lost: {cause}", data)

    async def _restart(self, planned: PlannedReplica, cause: LaunchError | ClientError) -> None:
        """End what is left of it, wait, start it and ask for a generation. Raises as `start` and `generate`."""
        began, replica, house = time.monotonic(), self.replica, self._house
        await self._clear(planned)
        replica.restarts += 1
        await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (replica.restarts - 1)))
        told = f"restart {replica.restarts} of {house.spec.max_restarts}"
        house.pool.mark_starting(replica, f"{told}, lost: {cause}")
        data = {"replica": replica.name, "cause": cause.code, "seconds": round(time.monotonic() - began, 2)}
        house.tell(f"evaluating/{replica.name}", told, {**data, "restarts": replica.restarts})
        await self.start()
        await self.generate()

    async def _clear(self, planned: PlannedReplica) -> None:
        if self.server:
            self._reports.append(await self.server.stop(KILL_GRACE))
        place = planned.place
        await wait_free([port for port in (place.port, place.nccl_port) if port], timeout=PORT_PATIENCE)
        before = self._house.allocation.gpu_memory or {}
        await memory_back({gpu: before[gpu] for gpu in place.gpus if gpu in before})

    def _readmit(self, cause: LaunchError | ClientError, seconds: float) -> None:
        replica = self.replica
        self._house.pool.mark_ready(replica)
        data = {"replica": replica.name, "cause": cause.code, "seconds": round(seconds, 2)}
        message = f"back after {seconds:.1f} s, restart {replica.restarts}"
        self._house.tell(f"evaluating/{replica.name}", message, {**data, "restarts": replica.restarts})


async def _outlive(server: Server) -> None:
    await _ended(server)
    raise server.failure()


async def _ended(server: Server) -> None:
    """Return when the replica's process is gone, however."""
    with contextlib.suppress(EngineFailed):  # its supervisor was killed: gone as well
        await server.tree.wait()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
