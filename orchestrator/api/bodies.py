"""Reading a request's body: JSON or YAML, whole or refused, and nothing that could not be stored or shown again."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml
from starlette.requests import Request

from orchestrator.api.problems import HttpError
from orchestrator.errors import FieldError
from orchestrator.spec.loading import UniqueKeys

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
DEEPEST = 32
"""Levels of a document; a spec has six."""
_LARGEST = 2**63


async def read_document(request: Request) -> Any:
    """The body as plain JSON values; without a `Content-Type` it is read as JSON.

    Raises: HttpError 413 (by the server's limit), 415 for another type, 400 for what cannot be parsed, 422 for values
    that no spec can hold.
    """
    media_type = request.headers.get("content-type", JSON_TYPES[0]).split(";")[0].strip().lower()
    if media_type not in (*JSON_TYPES, *YAML_TYPES):
        hint = _CONFIG_HINT if "python" in media_type else _HINT
        raise HttpError(415, "unsupported_media_type", f"a body of type {media_type} cannot be read", hint=hint)
    raw = await request.body()
    try:
        text = raw.decode()
        # A large YAML takes seconds, in which others are to be served.
        document = _json(text) if media_type in JSON_TYPES else await asyncio.to_thread(_yaml, text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        kind = "JSON" if media_type in JSON_TYPES else "YAML"
        told = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        hint = _CONFIG_HINT if _CONFIG.search(raw) else ""
        raise HttpError(400, "bad_request", f"the body is not valid {kind}: {told}"[:500], hint=hint) from None
    check_values(document)
    return document


def check_values(document: Any) -> None:
    """Refuse what JSON, the store or a command line cannot hold.

    Raises: HttpError 422 with the path of every such value.
    """
    if found := tuple(_wrong("", document, 0)):
        told = "; ".join(f"{error.path or '(document)'}: {error.message}" for error in found)
        raise HttpError(422, "bad_request", told[:2000], errors=found)


_HINT = f"send {', '.join((*JSON_TYPES, *YAML_TYPES))}"
_CONFIG = re.compile(rb"^(from \S+ import |with read_base\(|models *=)", re.MULTILINE)
"""What lines of an OpenCompass config begin with."""
_CONFIG_HINT = (
    "a config is not run over the network: `orchestrator submit FILE.py -a ENGINE` on the service's machine makes "
    "jobs of its models; a job spec names a config that lies in a folder of the policy's `files` under `datasets`"
)


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_NoAliases)


class _NoAliases(UniqueKeys):
    """YAML without anchors: a few hundred bytes of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; an alias is an error."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read over the network")
        return super().compose_node(parent, index)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} is written twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _wrong(path: str, value: Any, depth: int) -> list[FieldError]:
    if depth > DEEPEST:
        return [FieldError(path, f"is nested deeper than {DEEPEST} levels")]
    if isinstance(value, Mapping):
        keys = [error for key in value if (error := _wrong_key(path, key))]
        return keys or [error for key, inner in value.items() for error in _wrong(_join(path, key), inner, depth + 1)]
    if isinstance(value, list):
        return [error for index, inner in enumerate(value) for error in _wrong(_join(path, index), inner, depth + 1)]
    message = _wrong_value(value)
    return [FieldError(path, message)] if message else []


def _wrong_key(path: str, key: object) -> FieldError | None:
    if not isinstance(key, str):
        return FieldError(path, f"key {key!r} is not a text")
    message = _wrong_value(key)
    return FieldError(path, f"a key {message}") if message else None


def _wrong_value(value: object) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            return "holds a NUL character or half of a surrogate pair" if _unprintable(value) else None
        case int():
            return None if -_LARGEST <= value < _LARGEST else "is larger than 64 bits"
        case float():
            return None if math.isfinite(value) else "is not a finite number"
        case _:
            return f"is of a type that JSON has not: {type(value).__name__}"


def _unprintable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)
