"""The store: jobs, attempts, events, leases, deployments, comparisons, tokens; SQLite, or PostgreSQL by URL."""

from __future__ import annotations

from orchestrator.store.store import Store

__all__ = ["Store"]
