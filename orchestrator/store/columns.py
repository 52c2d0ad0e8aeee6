"""Column types: what Python holds and what the database keeps, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import BigInteger, Dialect, Integer, Text, TypeDecorator

Number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up by itself only what is an INTEGER


class Line(TypeDecorator[str]):
    """Text. What no database takes (NUL, half a surrogate pair) is replaced, so that odd input is never an error."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class Document(TypeDecorator[Any]):
    """A JSON value, kept as text: nothing is asked of its inside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To the database; None is NULL."""
        return None if value is None else dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """From the database."""
        return None if value is None else load(value)


class Numbers(TypeDecorator[tuple[int, ...]]):
    """A tuple of integers, kept as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[int, ...] | None, dialect: Dialect) -> str | None:
        """To the database; None is NULL."""
        return None if value is None else dump(list(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[int, ...] | None:
        """From the database."""
        return None if value is None else tuple(load(value))


class Choice(TypeDecorator[StrEnum]):
    """One of an enumeration, kept as its text: a new member needs no migration."""

    impl = Text
    cache_ok = True

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """To the database."""
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """From the database."""
        return None if value is None else self.choices(value)


def dump(value: Any) -> str:
    """JSON text. NaN becomes null; half surrogate pairs and integers beyond 64 bits stay as they are."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)


def load(text: str) -> Any:
    """What `dump` was given."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
