"""What all documents of the service share."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Read, never changed; what a newer service adds is kept and passed on."""

    model_config = ConfigDict(extra="allow", frozen=True)


Item = TypeVar("Item", bound=Document)


class Page(Document, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next_cursor: str | None = None
