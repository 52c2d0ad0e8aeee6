"""What the service asks of a place where processes run: this machine, or another scheduler's.

The service decides what runs when. An executor only starts one self-contained process per task, and tells what became
of it, also to a service that was started again since: by the task's key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

from orchestrator.settings import Settings


class Status(StrEnum):
    """What an executor knows of a task."""

    PENDING = "pending"
    """Accepted; its process does not own its folder yet."""
    RUNNING = "running"
    GONE = "gone"
    """It ended, or never was."""


@dataclass(frozen=True, slots=True)
class Task:
    """One process to run: its key never comes twice."""

    key: str
    """`JOB.ATTEMPT`, or the id of a deployment."""
    argv: tuple[str, ...]
    """Module of ours and its arguments: `python -m` runs it."""
    folder: Path
    """What the process owns, by `owner.lock` in it."""
    log: Path
    """Where its output goes until it says otherwise."""
    gpus: tuple[int, ...] = ()


class Executor(ABC):
    """Runs tasks. All methods are called on the service's event loop."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    async def open(cls, settings: Settings) -> Self:
        """Ready to take tasks. Raises: ExecutorRefused when this cannot be."""

    @abstractmethod
    async def close(self) -> None:
        """The service ends; tasks run on."""

    @abstractmethod
    async def submit(self, task: Task) -> None:
        """Start it, or see that it is started already: the key tells. Raises: ExecutorRefused."""

    @abstractmethod
    async def status(self, task: Task) -> Status:
        """What became of it, whoever submitted it."""

    @abstractmethod
    async def cancel(self, task: Task) -> None:
        """Ask it to end by itself, with its teardown; returns at once. Nothing when it is gone."""

    @abstractmethod
    async def kill(self, task: Task) -> None:
        """End its process without asking; what it started goes with it. Nothing when it is gone."""

    @abstractmethod
    async def list(self) -> dict[str, Status]:
        """Key -> status of every task that is not gone."""
