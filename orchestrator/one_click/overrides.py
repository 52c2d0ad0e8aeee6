"""`--serve KEY=VALUE` of the command line as fields of `serve`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

import yaml

from launchers.spec import ServeSpec
from orchestrator.errors import BadSpec, FieldError
from orchestrator.spec.loading import nearest

_WORDS = frozenset({"extra_args", "command"})
_TEXTS = frozenset({"model", "served_model_name", "url", "dtype", "host", "chat_template", "health_path"})


def overrides(given: Iterable[str]) -> dict[str, Any]:
    """Values by field: `dtype=float32`, `gpus=[0, 1]`, `env.NAME=text`, `extra_args="--a 1 --b"` (words of a shell).

    Raises: BadSpec with every error.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for text in given:
        key, equals, value = text.partition("=")
        if wrong := _wrong(key, equals):
            errors.append(FieldError(f"serve.{key}", wrong))
            continue
        try:
            _put(values, key, value)
        except (ValueError, yaml.YAMLError) as error:
            errors.append(FieldError(f"serve.{key}", f"cannot be read: {error}"))
    if errors:
        raise BadSpec(errors, source="the command line")
    return values


def _wrong(key: str, equals: str) -> str:
    if not equals:
        return "is not of the form KEY=VALUE"
    if key == "engine":
        return "is given by -a"
    if key.startswith("env.") or key in ServeSpec.model_fields:
        return ""
    return nearest(key, ServeSpec.model_fields.keys(), what="field of `serve`")


def _put(values: dict[str, Any], key: str, value: str) -> None:
    if key.startswith("env."):
        values.setdefault("env", {})[key.removeprefix("env.")] = value
    elif key in _WORDS and not value.startswith("["):
        values[key] = [*values.get(key, []), *shlex.split(value)]
    else:
        values[key] = value if key in _TEXTS else yaml.safe_load(value)
