"""One job, or a database that is away for a moment, must not end the service."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

log = logging.getLogger(__name__)


async def unharmed(what: str, work: Awaitable[None]) -> None:
    """Do `work`; an error is logged, and what was not done is tried again at the next look."""
    try:
        await work
    except Exception:  # whatever it was; the log tells it with its stack
        log.exception("%s: something went wrong", what)
