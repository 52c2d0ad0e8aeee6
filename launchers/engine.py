"""What an engine is to us: a small class that says what to run, what it needs, what ready means and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from launchers.environments import Environment, Recipe
from launchers.flags import Flags
from launchers.spec import ServeSpec

EVERY_ENGINE_HONOURS = frozenset(
    {"engine", "model", "served_model_name", "replicas", "gpus", "host", "port", "env", "startup_timeout"}
    | {"stall_timeout", "max_restarts", "trust_remote_code"}  # trust_remote_code: the operator's policy comes first
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One field that cannot be honoured, with the reason and what to do instead."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where one replica runs: everything that was leased for it."""

    replica: int
    host: str
    port: int
    nccl_port: int | None
    gpus: tuple[int, ...]
    folder: Path
    """Working folder of the replica, empty, private to it."""
    python: Path | None
    """Interpreter of the engine's isolated environment; None for engines that have none."""
    flags: Flags | None = None
    """What the engine's command line knows; None: the newest that we know of (a plan without the engine)."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process to start."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the scrubbed environment."""
    links: Mapping[str, Path] = field(default_factory=dict)
    """Symbolic links to make in the working folder before the start: name -> target."""
    notes: tuple[str, ...] = ()
    """What we set or know beyond the spec, one sentence each, for the plan and the record."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What "ready" means for an engine, beside a real generation."""

    health_path: str | None = "/health"
    """Path that answers 200 when the server listens; None where the engine has none."""
    lists_model: bool = True
    """Whether `/v1/models` names the served model. transformers serve lists the hub's cache instead."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the log of a failed engine says."""

    code: str
    """Failure code of the contract, section 2."""
    message: str
    hint: str


class Engine(ABC):
    """An inference engine: how to start it and how to read it. Stateless."""

    name: ClassVar[str]
    honours: ClassVar[frozenset[str]] = frozenset()
    """Fields of `ServeSpec` that the engine honours beside `EVERY_ENGINE_HONOURS`."""
    reasons: ClassVar[Mapping[str, str]] = {}
    """Why a field is not honoured and what to do instead: field -> one sentence."""
    needs_gpu: ClassVar[bool] = True
    """False: without GPUs on the machine it runs on the processor."""
    needs_nccl_port: ClassVar[bool] = False
    readiness: ClassVar[Readiness] = Readiness()
    stop_grace: ClassVar[float] = 10.0
    """Seconds that the engine gets to end by itself after SIGTERM."""
    concurrency: ClassVar[int] = 32
    """Requests in flight for one replica when the spec says `auto`."""
    ignored_sampling: ClassVar[Mapping[str, str]] = {}
    """Sampling fields that the engine does not honour over HTTP: field -> what it does instead."""
    prompt_scores_reason: ClassVar[str] = ""
    """Why the engine cannot tell the log-probabilities of a given text, and what can; empty: it can."""
    sampling_defaults: ClassVar[Mapping[str, Any]] = {}
    """What a request must say in full, or the engine (or the model's generation config) fills it in."""
    greedy_defaults: ClassVar[Mapping[str, Any]] = {}
    """What a request at temperature 0 must say beside that to be truly greedy."""

    @property
    def recipe(self) -> Recipe | None:
        """The isolated environment that the engine lives in on this machine; None when it needs none."""
        return None

    def flags(self, environment: Environment | None) -> Flags | None:
        """What the command line of the installed engine knows; None for engines that are not asked.

        Seconds on the first call in an environment: the engine is asked for its help.
        """
        return None

    def hopeless(self, log: str) -> Diagnosis | None:
        """Whether the log of a process that still runs says that it will never be ready."""
        return None

    def leftovers(self, log: str) -> frozenset[Path]:
        """Files outside the working folder that the server of this log has made, for removal after its end."""
        return frozenset()

    def honoured(self, flags: Flags | None) -> frozenset[str]:
        """Fields that the engine, or this version of it, honours beside `EVERY_ENGINE_HONOURS`."""
        return self.honours

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Fields of `spec` that differ from their default and that this engine, or this version, does not honour."""
        known = EVERY_ENGINE_HONOURS | self.honours
        changed = {
            name: info
            for name, info in ServeSpec.model_fields.items()
            if name not in known and getattr(spec, name) != info.get_default(call_default_factory=True)
        }
        return [
            Refusal(name, self.reasons.get(name) or f"engine `{self.name}` does not honour this field")
            for name in changed
        ]

    def gpus_needed(self, spec: ServeSpec, available: int) -> int:
        """GPUs to lease for all replicas on a machine that has `available` of them."""
        if spec.gpus is not None:
            return len(spec.gpus)
        if not self.needs_gpu and available == 0 and spec.gpus_per_replica == 1:
            return 0
        return spec.gpus_per_replica * spec.replicas

    @abstractmethod
    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """The process to start for one replica."""

    def model_name(self, spec: ServeSpec) -> str:
        """The name that the engine itself expects as `model`."""
        return spec.served_name

    def no_prompt_scores(self, spec: ServeSpec, flags: Flags | None = None) -> str:
        """Why `/v1/completions` with `echo` and `logprobs` does not score a given text; empty where it does, or where
        only asking it tells.
        """
        return self.prompt_scores_reason

    def readiness_for(self, spec: ServeSpec) -> Readiness:
        """What ready means for this spec."""
        return self.readiness
