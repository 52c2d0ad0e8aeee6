"""Engines that are started by a command line whose flags differ from version to version.

An engine declares how each field of the spec is written (`Option`) and what it sets for the sake of a faithful
evaluation (`Default`); which of the names a version knows is asked of the engine itself (`launchers.flags`).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from launchers.engine import Engine, Launch, Place, Refusal
from launchers.environments import Environment
from launchers.errors import SpecRefused
from launchers.flags import Flags, asked, known
from launchers.spec import ServeSpec

OFFLINE: Mapping[str, str] = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
NO_TELEMETRY: Mapping[str, str] = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One field of the spec as a flag."""

    field: str
    names: tuple[str, ...]
    """Names of the flag; the first one that the version knows is used."""
    instead: str = ""
    """What to do where the version knows none of them."""
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The engine's word for a value of the spec; other values are passed on as they are."""
    closed: bool = False
    """Whether `words` are all that the engine can do."""

    def write(self, value: Any) -> str:
        """The value as the engine wants it."""
        return self.words.get(str(value), str(value))


@dataclasses.dataclass(frozen=True, slots=True)
class Default:
    """A flag that we set although no field asks for it; left out where `extra_args` names it or its opposite."""

    flag: str
    value: str | None
    why: str
    opposite: str = ""


class FlaggedEngine(Engine):
    """An engine whose command line is made of options, our defaults and `extra_args`, in that order."""

    defaults: ClassVar[tuple[Default, ...]] = ()

    @abstractmethod
    def options(self, flags: Flags) -> tuple[Option, ...]:
        """How the fields of the spec are written for a version with `flags`, in the order of the command line."""

    @abstractmethod
    def head(self, spec: ServeSpec, place: Place, flags: Flags) -> tuple[str, ...]:
        """Program, model, address: what every command line of this engine begins with."""

    @abstractmethod
    def help_command(self, python: Path | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """The command, and variables for it, that prints the help."""

    def environment(self, spec: ServeSpec, place: Place) -> Mapping[str, str]:
        """Variables of the process."""
        return {**NO_TELEMETRY, **(OFFLINE if local_folder(spec) else {})}

    def notes(self, spec: ServeSpec, flags: Flags) -> tuple[str, ...]:
        """What somebody who reads the plan should know of this version."""
        return ()

    def flags(self, environment: Environment | None) -> Flags | None:
        """Asked of the installed engine once per environment; the newest that we know where it is not installed."""
        if environment is None:
            return known(self.name)
        argv, env = self.help_command(environment.python)
        return asked(self.name, environment.version or "0", argv, env, environment.folder / f"flags-{self.name}.json")

    def honoured(self, flags: Flags | None) -> frozenset[str]:
        """Also the fields that this version has a flag for."""
        known_flags = flags or known(self.name)
        return self.honours | {one.field for one in self.options(known_flags) if known_flags.first(*one.names)}

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Also refuses fields that this version has no flag for, and words that the engine does not know."""
        flags = flags or known(self.name)
        options = self.options(flags)
        return [
            *(one for one in super().refusals(spec, flags) if one.field not in {option.field for option in options}),
            *(Refusal(option.field, reason) for option in options if (reason := self._problem(spec, option, flags))),
        ]

    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """The command line for the version that `place.flags` tells of.

        Raises: SpecRefused when that version cannot do what another could, so that nothing is dropped silently.
        """
        flags = place.flags or known(self.name)
        for refusal in self.refusals(spec, flags):
            raise SpecRefused(f"serve.{refusal.field}: {refusal.message}", hint="`orchestrator doctor` shows versions")
        words = [word for option in self.options(flags) for word in _written(spec, option, flags)]
        ours = [default for default in self.defaults_for(spec, flags) if _applies(default, flags, spec.extra_args)]
        safe = [word for default in ours for word in (default.flag, default.value) if word is not None]
        return Launch(
            argv=(*self.head(spec, place, flags), *words, *safe, *spec.extra_args),
            env=self.environment(spec, place),
            notes=(*(_told(default) for default in ours), *self.notes(spec, flags)),
        )

    def defaults_for(self, spec: ServeSpec, flags: Flags) -> tuple[Default, ...]:
        """Our defaults for this spec."""
        return self.defaults

    def _problem(self, spec: ServeSpec, option: Option, flags: Flags) -> str:
        value = getattr(spec, option.field)
        if value == _unset(option.field):
            return ""
        if flags.first(*option.names) is None:
            return f"{self.name} {flags.version} has no flag for it; {option.instead}".rstrip("; ")
        if option.closed and str(value) not in option.words:
            return f"{self.name} {flags.version} knows {', '.join(option.words)}, not {value!r}"
        return ""


def local_folder(spec: ServeSpec) -> Path | None:
    """The folder or file of the model on this machine; None for the id of a hub."""
    path = Path(str(spec.model)).expanduser()
    return path.resolve() if path.exists() else None


def model_path(spec: ServeSpec) -> str:
    """The model as an engine in another working folder must name it."""
    return str(local_folder(spec) or spec.model)


def _written(spec: ServeSpec, option: Option, flags: Flags) -> Sequence[str]:
    value, name = getattr(spec, option.field), flags.first(*option.names)
    if name is None or value == _unset(option.field):
        return ()
    return (name,) if value is True else (name, option.write(value))


def _applies(default: Default, flags: Flags, extra: Sequence[str]) -> bool:
    given = {_plain(word) for word in extra}
    return default.flag in flags and not given & {_plain(default.flag), _plain(default.opposite or default.flag)}


def _plain(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _told(default: Default) -> str:
    return f"{' '.join(filter(None, (default.flag, default.value)))}: {default.why}"


def _unset(field_name: str) -> Any:
    return ServeSpec.model_fields[field_name].get_default(call_default_factory=True)
