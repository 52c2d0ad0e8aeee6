"""`--serve KEY=VALUE` of the command line as fields of `serve`, for all engines or for one."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import yaml

from launchers.registry import engine_names
from launchers.spec import ServeSpec
from orchestrator.errors import BadSpec, FieldError
from orchestrator.spec.loading import nearest

_WORDS = frozenset({"extra_args", "command"})
_TEXTS = frozenset({"model", "served_model_name", "url", "dtype", "host", "chat_template", "health_path"})


class _Given(NamedTuple):
    engine: str
    """Empty: every engine."""
    key: str
    value: str
    equals: str

    @property
    def path(self) -> str:
        return f"serve.{self.engine}.{self.key}" if self.engine else f"serve.{self.key}"


def overrides(given: Iterable[str], engines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fields by engine: `dtype=float32`, `gpus=[0, 1]`, `env.NAME=text`, `extra_args="--a 1 --b"` (words of a shell).

    `ENGINE.KEY=VALUE` is for that engine alone and wins; words of both are joined.
    Raises: BadSpec with every error.
    """
    values: dict[str, dict[str, Any]] = {engine: {} for engine in engines}
    errors: list[FieldError] = []
    for one in sorted(map(_parted, given), key=lambda one: bool(one.engine)):
        if wrong := _wrong(one, engines):
            errors.append(FieldError(one.path, wrong))
            continue
        try:
            for engine in [one.engine] if one.engine else engines:
                _put(values[engine], one.key, one.value)
        except (ValueError, yaml.YAMLError) as error:
            errors.append(FieldError(one.path, f"cannot be read: {error}"))
    if errors:
        raise BadSpec(errors, source="the command line")
    return values


def _parted(text: str) -> _Given:
    key, equals, value = text.partition("=")
    engine, dot, field = key.partition(".")
    return _Given(engine, field, value, equals) if dot and engine in engine_names() else _Given("", key, value, equals)


def _wrong(given: _Given, engines: Sequence[str]) -> str:
    if not given.equals:
        return "is not of the form KEY=VALUE"
    if given.engine and given.engine not in engines:
        return f"engine `{given.engine}` is not among those of -a"
    if given.key == "engine":
        return "is given by -a"
    if given.key.startswith("env.") or given.key in ServeSpec.model_fields:
        return ""
    return nearest(given.key, ServeSpec.model_fields.keys(), what="field of `serve`")


def _put(values: dict[str, Any], key: str, value: str) -> None:
    if key.startswith("env."):
        values.setdefault("env", {})[key.removeprefix("env.")] = value
    elif key in _WORDS and not value.startswith("["):
        values[key] = [*values.get(key, []), *shlex.split(value)]
    else:
        values[key] = value if key in _TEXTS else yaml.safe_load(value)
