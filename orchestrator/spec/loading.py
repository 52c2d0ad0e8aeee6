"""Reading a job spec so that every error of its form is reported at once, with its path and the nearest valid key."""

from __future__ import annotations

import copy
import difflib
import json
import types
import typing
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from launchers.spec import ServeSpec
from orchestrator.errors import BadSpec, FieldError
from orchestrator.spec.models import JobSpec

Location = tuple[int | str, ...]
_CONFIG = (
    "is an OpenCompass config, which `orchestrator run`, `submit` and `compare` take with an engine: "
    "`FILE.py -a ENGINE`; a job spec names it in `datasets`"
)
NEAR = 0.7
"""How alike two names are, 0 to 1 (`difflib`), for one to be a slip of the other: `modle` and `model` have 0.8, `rate`
and `port` 0.5.
"""
_MOST_PLACES = 3
Spec = TypeVar("Spec", bound=BaseModel)


def load_spec(path: Path) -> tuple[JobSpec, list[FieldError]]:
    """Read a YAML or JSON file; see `parse_spec`.

    Raises: BadSpec when the file cannot be read or is not a mapping.
    """
    return parse_spec(load_document(path), source=str(path))


def load_document(path: Path) -> object:
    """What a YAML or JSON file holds. Raises: BadSpec when it cannot be read, and for an OpenCompass config."""
    if path.suffix == ".py":
        raise BadSpec([FieldError("", _CONFIG)], source=str(path))
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec([FieldError("", f"cannot be read: {error}")], source=str(path)) from error
    try:
        loaded: object = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:
        raise BadSpec([FieldError("", f"is not valid YAML or JSON: {error}")], source=str(path)) from error
    return loaded


def parse_spec(document: object, *, source: str = "the job spec") -> tuple[JobSpec, list[FieldError]]:
    """A job's spec, and the errors of its form; see `parse_as`."""
    return parse_as(JobSpec, document, source=source)


def parse_as(model: type[Spec], document: object, *, source: str) -> tuple[Spec, list[FieldError]]:
    """The document as `model`, and the errors of its form.

    With errors the spec is what is left without the wrong keys, so that the caller can check the rest of it and
    report everything together. Relative paths are kept as they are written.
    Raises: BadSpec when nothing is left to check.
    """
    if not isinstance(document, Mapping):
        raise BadSpec([FieldError("", f"must be a mapping, not {type(document).__name__}")], source=source)
    remaining: Any = copy.deepcopy(dict(document))
    errors: list[FieldError] = []
    while True:
        try:
            return model.model_validate(remaining), errors
        except ValidationError as invalid:
            details = invalid.errors(include_url=False)
            errors.extend(error for error in _field_errors(model, details, remaining) if not _follows(error, errors))
            removed = [_remove(remaining, detail["loc"]) for detail in reversed(details)]
            if not any(removed):
                raise BadSpec(errors, source=source) from None


def parse_serve(values: Mapping[str, object], *, source: str) -> tuple[ServeSpec, list[FieldError]]:
    """The `serve` part alone, for `orchestrator up`.

    Raises: BadSpec as `parse_spec` does.
    """
    document = {"serve": dict(values), "evaluate": [{"evaluator": "opencompass", "datasets": ["none"]}]}
    spec, errors = parse_spec(document, source=source)
    return spec.serve, errors


def nearest(given: str, valid: Collection[str], *, what: str = "parameter") -> str:
    """What to say about a name that is not among the valid ones: the one that it is near to, or all of them."""
    if near := _near(given, valid):
        return f"unknown {what}; did you mean `{near}`?"
    return f"unknown {what}; valid here: {', '.join(sorted(valid)) or 'none'}"


def _near(given: str, valid: Collection[str]) -> str | None:
    return next(iter(difflib.get_close_matches(given, sorted(valid), n=1, cutoff=NEAR)), None)


def _field_errors(model: type[BaseModel], details: Sequence[ErrorDetails], document: object) -> list[FieldError]:
    """One error per path: the alternatives of a union are joined."""
    messages: dict[str, list[str]] = {}
    for detail in details:
        messages.setdefault(_path(detail["loc"], document), []).append(_message(model, detail))
    return [FieldError(path, " or ".join(dict.fromkeys(said))) for path, said in messages.items()]


def _follows(error: FieldError, known: Sequence[FieldError]) -> bool:
    """Whether the error only comes from taking out what is known to be wrong."""
    return any(item.path == error.path or item.path.startswith(f"{error.path}.") for item in known)


def _path(location: Location, document: Any) -> str:
    """Dotted path of a key; what pydantic adds for the alternatives of a union is left out."""
    parts: list[str] = []
    for part in location:
        if not isinstance(document, dict | list):
            break
        parts.append(str(part))
        try:
            document = document[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            break
    return ".".join(parts)


def _message(model: type[BaseModel], detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(model, detail["loc"])
        case "missing":
            return "is required"
        case _:
            said = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
            return f"{said[0].lower()}{said[1:]}, got {_shown(detail['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(model: type[BaseModel], location: Location) -> str:
    """Where the key belongs, if it is valid elsewhere in the spec, and what else it may be here."""
    given, valid = str(location[-1]), _fields_at(model, location[:-1])
    places = sorted(_places(model, given, location), key=lambda place: (-_shared(place, location), len(place)))
    if not places:
        return nearest(given, valid, what="key")
    named = " or ".join(f"`{'.'.join(map(str, place))}`" for place in places[:_MOST_PLACES])
    where = "at the top of the spec" if len(places[0]) == 1 else "elsewhere"
    near = _near(given, valid)
    return f"unknown key here; belongs {where}: {named}{f'; or did you mean `{near}`?' if near else ''}"


def _places(model: type[BaseModel], key: str, location: Location, above: Location = ()) -> Iterator[Location]:
    """Every place below `above` where `key` is valid; of lists and of named parts that in which `location` lies."""
    for name, field in model.model_fields.items():
        here = (*above, name)
        if name == key:
            yield here
        inside, after = location[: len(here)] == here, len(here)
        origin = typing.get_origin(field.annotation)
        if origin in (list, dict):
            here = (*here, location[after] if inside else 0 if origin is list else "NAME")
        if inner := _model_in(field.annotation):
            yield from _places(inner, key, location, here)


def _shared(one: Location, other: Location) -> int:
    """How many parts two paths begin with alike."""
    return next((at for at, (mine, its) in enumerate(zip(one, other, strict=False)) if mine != its), len(one))


def _fields_at(model: type[BaseModel], location: Location) -> set[str]:
    if not location:
        return set(model.model_fields)
    head, *tail = location
    field = model.model_fields.get(str(head))
    inner = _model_in(field.annotation) if field else None
    named = field is not None and typing.get_origin(field.annotation) is dict  # the next part is a name, no field
    rest = tuple(part for part in tail[named:] if not isinstance(part, int))
    return _fields_at(inner, rest) if inner else set()


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)


def _remove(document: Any, location: Location) -> bool:
    """Take the wrong value out of the document; True when something was removed."""
    *parents, key = location
    place = document
    for part in parents:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return _remove(document, tuple(parents)) if parents else False
    if isinstance(place, dict) and key in place:
        del place[key]
        return True
    if isinstance(place, list) and isinstance(key, int) and key < len(place):
        del place[key]
        return True
    # A required key that is missing, or a part of a union: nothing at this place, so the whole above it goes.
    return _remove(document, tuple(parents)) if parents else False


class UniqueKeys(yaml.SafeLoader):
    """YAML without the silent loss of a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; a repeated key is an error."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            where = key_node.start_mark
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", where)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", where)
            seen.add(key)
        return super().construct_mapping(node, deep)
