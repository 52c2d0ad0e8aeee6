"""The texts of answers as the journal keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import orjson

from clients.journal_format import answer_of, read_records


def texts_of(journal: Path, keys: Collection[str]) -> frozenset[str]:
    """Texts of the answers to these requests, without white space around them, but for those that other requests
    got too.

    Answers whose form is not that of the OpenAI API are left out. Raises: OSError.
    """
    found: set[str] = set()
    others: set[str] = set()
    for record in read_records(journal):
        into = found if record["key"] in keys else others
        into.update(text.strip() for text in _texts(record))
    return frozenset(found - others)


def _texts(record: dict[str, Any]) -> Iterator[str]:
    try:
        body = answer_of(record).body
    except KeyError:  # kept beside the journal for its size
        return
    streamed = record["content_type"].startswith("text/event-stream")
    lines = body.splitlines() if streamed else [b"data:" + body]
    try:
        documents = [orjson.loads(line[5:]) for line in lines if line[:5] == b"data:" and b"[DONE]" not in line[:13]]
        yield "".join(_said(choice) for document in documents for choice in document["choices"][:1])
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def _said(choice: dict[str, Any]) -> str:
    part = choice.get("message") or choice.get("delta") or choice
    return str(part.get("content") or part.get("text") or "")
