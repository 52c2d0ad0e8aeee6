"""A spec on its way to the service, which has another current folder and perhaps another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import BadSpec, FieldError
from orchestrator.policy import is_loopback
from orchestrator.spec.loading import load_document

NEVER_PATHS = frozenset(
    {"name", "labels", "notes", "env", "command", "args", "extra_args", "prompt", "meta_template", "generation", "url"}
)
"""Keys whose texts are sent as they are."""


def document_of(path: Path, service: str) -> dict[str, Any]:
    """The spec in a file, for the service at this URL.

    Files that it names relative to its own folder are named by their absolute paths where the service is on this
    machine; for another machine nothing is changed. Errors of its form are the service's to find.
    Raises: BadSpec when the file cannot be read or is not a mapping.
    """
    document = load_document(path)
    if not isinstance(document, Mapping):
        raise BadSpec([FieldError("", f"must be a mapping, not {type(document).__name__}")], source=str(path))
    return located(document, path.resolve().parent, service)


def located(document: Mapping[str, Any], base: Path, service: str) -> dict[str, Any]:
    """A document whose relative paths start from `base`, for the service at this URL; see `document_of`."""
    if not is_loopback(urlsplit(service).hostname or ""):
        return dict(document)
    return {key: _located(key, value, base) for key, value in document.items()}


def _located(key: object, value: Any, base: Path) -> Any:
    if key in NEVER_PATHS:
        return value
    if isinstance(value, Mapping):
        return {name: _located(name, inner, base) for name, inner in value.items()}
    if isinstance(value, list):
        return [_located(key, inner, base) for inner in value]
    return _found(value, base, by_name=key != "model") if isinstance(value, str) else value


def _found(text: str, base: Path, *, by_name: bool) -> str:
    """The absolute path of what is there; `by_name`: a plain word is a name, whatever lies beside the spec."""
    if by_name and "/" not in text and not Path(text).suffix:
        return text
    place = base / Path(text).expanduser()
    return str(place.resolve()) if place.exists() else text
