"""What a compression tool is to us: which specs it can do, and the commands that do them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from launchers.compress.spec import CompressSpec
from launchers.engine import Refusal
from launchers.environments import Environment, Environments, Recipe
from launchers.errors import CompressorMissing

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True)
class Workshop:
    """What this machine has for compressing."""

    environments: Environments
    gpus: int
    """GPUs of the machine."""
    no_gpus: str = ""
    """Why there are none."""
    llama_cpp: Path | None = None
    """Folder of llama.cpp with its conversion script and `llama-quantize`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command; a compression is one or more of them, one after the other."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the scrubbed environment."""


class Tool(ABC):
    """A compression tool. Stateless."""

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]] = ()
    """Schemes that it knows; empty: `scheme` says nothing to it."""
    default_scheme: ClassVar[str | None] = None
    """What it takes without a scheme; None: one must be given."""
    honours: ClassVar[frozenset[str]] = frozenset()
    """Fields of `CompressSpec` that it honours beside `tool`, `gpus`, `timeout` and, with `schemes`, `scheme`."""
    needs_gpu: ClassVar[bool] = False
    takes_gpu: ClassVar[bool] = False
    """Works on the processor, and faster on a GPU where there is one."""

    @property
    def recipe(self) -> Recipe | None:
        """The isolated environment that the tool lives in; None when it needs none."""
        return None

    @abstractmethod
    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """The commands that make a model in `output` (an empty folder) of the one in `source`.

        Raises: CompressorMissing.
        """

    def refusals(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> list[Refusal]:
        """What of `spec` cannot be done here, with paths relative to it; `source` is None when it is not known.

        Fast, and without starting anything.
        """
        found = [*self._unknown_scheme(spec, source, workshop), *self._not_honoured(spec)]
        if self.gpus_needed(spec, workshop.gpus) > workshop.gpus:
            why = f" ({workshop.no_gpus})" if workshop.no_gpus and not workshop.gpus else ""
            field = "tool" if spec.gpus is None else "gpus"
            found.append(Refusal(field, f"`{self.name}` needs a GPU, this machine has {workshop.gpus}{why}"))
        return [*found, *self._impossible(spec, source, workshop)]

    def gpus_needed(self, spec: CompressSpec, available: int) -> int:
        """GPUs to lease on a machine that has `available` of them."""
        if spec.gpus is not None:
            return spec.gpus
        return 1 if self.needs_gpu else min(available, 1) if self.takes_gpu else 0

    def produced(self, spec: CompressSpec, source: Path) -> str:
        """Path below the output folder of what is served; empty: the folder itself, or the one GGUF file in it."""
        return ""

    def inputs(self, spec: CompressSpec) -> tuple[Path, ...]:
        """Files beside the model that the result depends on."""
        return ()

    def identity(self, spec: CompressSpec, source: Path, workshop: Workshop) -> dict[str, object]:
        """What the tool is on this machine, by content: with the source and the spec it tells what comes out.

        Raises: CompressorMissing.
        """
        environment = self.environment(workshop)
        return {"packages": dict(environment.packages)} if environment else {}

    def version(self, workshop: Workshop) -> str | None:
        """The tool's own version."""
        found = self.environment(workshop)
        return found.packages.get(found.name) if found else None

    def environment(self, workshop: Workshop) -> Environment | None:
        """Its installed environment; None for tools that have none.

        Raises: CompressorMissing.
        """
        if self.recipe is None:
            return None
        found = workshop.environments.find(self.recipe)
        if found is None:
            raise missing(self.name, self.recipe)
        return found

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        """What else this tool refuses."""
        yield from ()

    def _unknown_scheme(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        if self.schemes and (spec.scheme or self.default_scheme) not in self.schemes:
            given = f"`{self.name}` has no scheme `{spec.scheme}`" if spec.scheme else f"`{self.name}` needs one"
            yield Refusal("scheme", f"{given}; it has: {', '.join(self.schemes)}")

    def _not_honoured(self, spec: CompressSpec) -> Iterator[Refusal]:
        known = self.honours | {"tool", "gpus", "timeout"} | ({"scheme"} if self.schemes else set())
        for name, info in CompressSpec.model_fields.items():
            if name not in known and getattr(spec, name) != info.get_default(call_default_factory=True):
                yield Refusal(name, f"tool `{self.name}` does not honour this field")


def missing(tool: str, recipe: Recipe) -> CompressorMissing:
    """The error for a tool whose environment is not installed."""
    return CompressorMissing(
        f"compression tool `{tool}` is not installed here",
        hint=recipe.by_hand or f"orchestrator install {recipe.name}  ({recipe.size}, {recipe.time})",
    )
