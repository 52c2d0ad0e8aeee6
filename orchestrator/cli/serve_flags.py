"""Every field of `serve` as a flag of `orchestrator up`, made from the spec's own model: they cannot drift apart."""

from __future__ import annotations

import inspect
import shlex
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from launchers.spec import ServeSpec
from orchestrator.errors import BadSpec, FieldError

SHORT = {"tensor_parallel": "--tp", "pipeline_parallel": "--pp"}
COMMA_SEPARATED = frozenset({"gpus"})
SHELL_WORDS = frozenset({"command", "extra_args"})
REPEATED = frozenset({"env"})


def with_serve_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command`, which takes the flags as one mapping `serve`, a parameter per field of `ServeSpec`."""
    declared = inspect.signature(command, eval_str=True).parameters.values()
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in declared if parameter.name != "serve"
    ]
    flags = [_parameter(name, info) for name, info in ServeSpec.model_fields.items()]

    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in ServeSpec.model_fields}
        command(serve=serve_values(given), **values)

    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    wrapper.__signature__ = inspect.Signature([*flags, *own])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in (*flags, *own)}
    return wrapper


def serve_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as the values of a spec; flags that were not given are left out.

    Raises: BadSpec naming the flag whose text cannot be read.
    """
    return {name: _value(name, value) for name, value in given.items() if value is not None and value != []}


def _value(name: str, value: Any) -> Any:
    try:
        if name in COMMA_SEPARATED:
            return [] if value in ("none", "[]", "") else [int(part) for part in value.split(",")]
        if name in SHELL_WORDS:
            return shlex.split(value)
        if name in REPEATED:
            return dict(_pair(item) for item in value)
    except ValueError as error:
        raise BadSpec([FieldError(f"serve.{name}", str(error))], source="the command line") from error
    return value


def _pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise ValueError(f"{item!r} is not of the form NAME=VALUE")
    return name, value


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    names = [*([SHORT[name]] if name in SHORT else []), f"--{name.replace('_', '-')}"]
    option = typer.Option(*names, help=info.description, show_default=False)
    annotation = Annotated[_flag_type(name, info), option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag_type(name: str, info: FieldInfo) -> Any:
    if name in REPEATED:
        return list[str] | None
    if name in COMMA_SEPARATED | SHELL_WORDS:
        return str | None
    annotation = info.annotation
    union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    kinds = [part for part in typing.get_args(annotation) if part is not type(None)] if union else [annotation]
    kind: Any = kinds[0]
    while typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    return kind | None
