"""Which queued job starts now, and on which GPUs: pure functions over a snapshot."""

from orchestrator.scheduling.decision import decide, explain
from orchestrator.scheduling.snapshot import Decision, Deployment, Evict, Running, Snapshot, Start, Waiting

__all__ = ["Decision", "Deployment", "Evict", "Running", "Snapshot", "Start", "Waiting", "decide", "explain"]
