"""Which executors there are: found through the entry-point group `orchestrator.executors`."""

from __future__ import annotations

from importlib.metadata import entry_points

from orchestrator.errors import ExecutorRefused
from orchestrator.executors.base import Executor

GROUP = "orchestrator.executors"


def executor_names() -> list[str]:
    """Names of all executors that are registered, sorted."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def get_executor(name: str) -> type[Executor]:
    """The executor of that name. Raises: ExecutorRefused when there is none."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}.get(name)
    if found is None:
        there = ", ".join(executor_names()) or "none"
        raise ExecutorRefused(f"no executor `{name}` here", hint=f"set `service.executor` to one of: {there}")
    executor: type[Executor] = found.load()
    return executor
