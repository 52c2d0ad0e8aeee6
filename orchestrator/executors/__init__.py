"""Where the processes of the service run: an executor is found by its name, see `registry`."""

from orchestrator.executors.base import Executor, Status, Task
from orchestrator.executors.registry import executor_names, get_executor

__all__ = ["Executor", "Status", "Task", "executor_names", "get_executor"]
