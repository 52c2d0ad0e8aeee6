"""What a job takes before anything starts: GPUs and ports, and the exact commands that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launchers.engine import Engine, Launch, Place
from launchers.environments import Environment, Environments
from launchers.errors import EngineMissing
from launchers.gpus import discover, memory_used
from launchers.registry import get_engine
from launchers.server import Command, command_of
from launchers.spec import ServeSpec
from orchestrator.leases import Leases
from orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class PlannedReplica:
    """One replica: where it runs and by which command."""

    name: str
    place: Place
    launch: Launch
    command: Command


@dataclass(frozen=True, slots=True)
class Allocation:
    """All that is held for one served model."""

    engine: Engine
    environment: Environment | None
    replicas: tuple[PlannedReplica, ...]
    gateway_port: int
    gpus: tuple[int, ...]
    gpu_memory: dict[int, int] | None
    """Bytes used per leased GPU before anything started; None without a driver."""
    locks: tuple[int, ...] = ()
    """Descriptors of the lease locks: what a shim holds, so that a lease outlives a killed runner."""
    external: tuple[str, int] | None = None
    """Host and port of a server that is not ours."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that is leased."""
        own = [port for planned in self.replicas for port in (planned.place.port, planned.place.nccl_port)]
        return (*(port for port in own if port is not None), self.gateway_port)

    def describe(self) -> dict[str, Any]:
        """As the `resources` of the record and the plan of a dry run show it."""
        return {
            "engine": self.engine.name,
            "environment": _describe_environment(self.environment),
            "gpus": list(self.gpus),
            "gateway_port": self.gateway_port,
            "sampling": {"always": dict(self.engine.sampling_defaults), "greedy": dict(self.engine.greedy_defaults)},
            "external": f"http://{self.external[0]}:{self.external[1]}" if self.external else None,
            "replicas": [_describe(planned) for planned in self.replicas],
        }


def allocate(spec: ServeSpec, leases: Leases, folder: Path) -> Allocation:
    """Lease what `spec` needs and work out the commands; replicas get working folders under `folder`.

    Raises: EngineMissing, GpuUnavailable, PortInUse, ForeignServer.
    """
    engine = get_engine(spec.engine)
    environment = _environment(engine, leases.settings)
    available = len(discover(leases.settings.gpus).gpus)
    gpus = leases.gpus(engine.gpus_needed(spec, available), spec.gpus)
    external = _external(spec)
    indices = range(0 if external else spec.replicas)
    flags = engine.flags(environment)
    places = [replace(_place(index, spec, engine, environment, gpus, leases, folder), flags=flags) for index in indices]
    replicas = tuple(_planned(place, spec, engine) for place in places)
    # With one replica the engine listens on the port that the user named; with several, the gateway does.
    gateway_port = leases.port(spec.port if spec.replicas > 1 else None)
    return Allocation(
        engine=engine,
        environment=environment,
        replicas=replicas,
        gateway_port=gateway_port,
        gpus=gpus,
        gpu_memory=memory_used(gpus) if gpus else None,
        locks=tuple(leases.descriptors),
        external=external,
    )


def borrow(spec: ServeSpec, leases: Leases) -> Allocation:
    """As `allocate`, for a model that another process of ours serves: only a port for the job's own gateway.

    Raises: EngineMissing, PortInUse.
    """
    engine = get_engine(spec.engine)
    return Allocation(
        engine=engine,
        environment=_environment(engine, leases.settings),
        replicas=(),
        gateway_port=leases.port(),
        gpus=(),
        gpu_memory=None,
        locks=tuple(leases.descriptors),
    )


def require_engine(spec: ServeSpec, settings: Settings) -> None:
    """Nothing when the engine can be started here. Raises: EngineMissing."""
    _environment(get_engine(spec.engine), settings)


def _environment(engine: Engine, settings: Settings) -> Environment | None:
    if engine.recipe is None:
        return None
    found = Environments(settings.environments).find(engine.recipe)
    if found is None:
        raise EngineMissing(
            f"engine `{engine.name}` is not installed here",
            hint=f"orchestrator install {engine.name}  ({engine.recipe.size}, {engine.recipe.time})",
        )
    return found


def _external(spec: ServeSpec) -> tuple[str, int] | None:
    if spec.url is None:
        return None
    parts = urlsplit(spec.url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def _place(
    index: int,
    spec: ServeSpec,
    engine: Engine,
    environment: Environment | None,
    gpus: tuple[int, ...],
    leases: Leases,
    folder: Path,
) -> Place:
    share = len(gpus) // spec.replicas
    nccl_wanted = spec.nccl_port + index if spec.nccl_port else None
    return Place(
        replica=index,
        host=spec.host,
        port=leases.port(spec.port if spec.replicas == 1 else None, host=spec.host),
        nccl_port=leases.port(nccl_wanted) if engine.needs_nccl_port else None,
        gpus=gpus[index * share : (index + 1) * share],
        folder=folder / f"engine-{index}",
        python=environment.python if environment else None,
    )


def _planned(place: Place, spec: ServeSpec, engine: Engine) -> PlannedReplica:
    launch = engine.launch(spec, place)
    return PlannedReplica(f"engine-{place.replica}", place, launch, command_of(launch, place, spec.env))


def _describe_environment(environment: Environment | None) -> dict[str, Any] | None:
    if environment is None:
        return None
    return {
        "name": environment.name,
        "version": environment.version,
        "torch": environment.packages.get("torch"),
        "requirements": environment.requirements_hash,
        "folder": str(environment.folder),
    }


def _describe(planned: PlannedReplica) -> dict[str, Any]:
    return {
        "name": planned.name,
        "argv": list(planned.command.argv),
        "env": dict(planned.command.env),
        "cwd": str(planned.command.cwd),
        "host": planned.place.host,
        "port": planned.place.port,
        "nccl_port": planned.place.nccl_port,
        "gpus": list(planned.place.gpus),
        "notes": list(planned.launch.notes),
    }
