"""Pages of a list: opaque cursors, and a largest page."""

from __future__ import annotations

import base64
import binascii
import re

from orchestrator.api.problems import bad_request

DEFAULT_PAGE = 50
_POSITION = re.compile(r"[0-9]{1,18}", re.ASCII)


def cursor_of(kind: str, position: int) -> str:
    """The text that continues the list `kind` after `position`."""
    return base64.urlsafe_b64encode(f"{kind}:{position}".encode()).decode().rstrip("=")


def position_of(kind: str, cursor: str | None) -> int | None:
    """The position behind a cursor; None for the first page.

    Raises: HttpError 422 for a cursor that this list did not give.
    """
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    found, _, position = text.partition(":")
    if found != kind or not _POSITION.fullmatch(position):
        raise bad_request("query.cursor", "is not a cursor of this list; take `next_cursor` of the page before")
    return int(position)


def page_size(limit: int | None, largest: int) -> int:
    """How many items to show. Raises: HttpError 422 beyond the operator's largest page."""
    if limit is not None and limit > largest:
        raise bad_request("query.limit", f"is more than {largest}, the largest page here")
    return limit or min(DEFAULT_PAGE, largest)
