"""Preconditions: two clients that act on the same thing do not undo each other's work."""

from __future__ import annotations

import re

from fastapi import Request

from orchestrator.api.problems import bad_request
from orchestrator.errors import PreconditionFailed

_TAG = re.compile(r'"([0-9]{1,18})"', re.ASCII)


def wanted_version(request: Request) -> int | None:
    """The version that `If-Match` names; None without it, or for `*`.

    Raises: HttpError 422 for what is no `ETag` of ours; PreconditionFailed for a weak one, which matches nothing.
    """
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    if header.strip().startswith("W/"):
        raise PreconditionFailed("a weak ETag never matches", hint="send the ETag as it was given")
    found = _TAG.fullmatch(header.strip())
    if found is None:
        raise bad_request("header.If-Match", "is not an ETag of this service; take it from the last answer")
    return int(found[1])


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has this very version (`If-None-Match`)."""
    header = request.headers.get("if-none-match", "")
    return tag in (part.strip().removeprefix("W/") for part in header.split(","))
