"""The audit log: who changed what, and who was refused; written in batches, so that requests do not wait for it."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from orchestrator.errors import StoreError
from orchestrator.store.rows import AuditEntry
from orchestrator.store.store import Store

PAUSE = 0.2
"""Seconds between two writes: what a `kill -9` can cost the log."""


class Audit:
    """Takes entries at any time; `run` writes them until it is cancelled, the last ones too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[AuditEntry] = deque()
        self._some = asyncio.Event()
        self._log = structlog.get_logger("audit")

    def note(self, entry: AuditEntry) -> None:
        """Keep an entry; it is in the service's log at once, in the store a moment later."""
        self._log.info(entry.action, token=entry.token, target=entry.target, outcome=entry.outcome, **entry.detail)
        self._waiting.append(entry)
        self._some.set()

    async def run(self) -> None:
        """Write entries as they come."""
        try:
            while True:
                await self._some.wait()
                await asyncio.sleep(PAUSE)
                self._some.clear()
                await asyncio.to_thread(self._write)
        finally:
            self._write()

    def _write(self) -> None:
        entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not entries:
            return
        try:
            self._store.audit.extend(entries)
        except StoreError as error:  # the database is away: the service's own log has the lines
            self._log.error("audit lines were not stored", lines=len(entries), error=error.message)
