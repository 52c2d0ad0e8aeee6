"""How commands speak: results on standard output, everything else on standard error, stable exit codes."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from clients.errors import ClientError
from clients.service import ServiceError
from launchers.errors import LaunchError
from orchestrator.errors import BadSpec, OrchestratorError
from orchestrator.record import Failure, State


class Exit(IntEnum):
    """Exit codes of the contract, section 4."""

    SUCCEEDED = 0
    FAILED = 1
    BAD_SPEC = 2
    INCOMPLETE = 3
    CANCELLED = 4
    INTERRUPTED = 130


WIDE = 200
"""Columns where nothing tells how many there are: a pipe or a file."""
EXIT_OF_STATE = {
    State.SUCCEEDED: Exit.SUCCEEDED,
    State.INCOMPLETE: Exit.INCOMPLETE,
    State.FAILED: Exit.FAILED,
    State.CANCELLED: Exit.CANCELLED,
}


def stdout() -> Console:
    """Where results go; wide enough for whole paths when it is not a terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDE)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)


def print_json(document: BaseModel | dict[str, Any] | list[Any]) -> None:
    """One JSON document on standard output."""
    if isinstance(document, BaseModel):
        sys.stdout.write(document.model_dump_json(indent=2) + "\n")
    else:
        sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
    sys.stdout.flush()


def print_error(error: LaunchError | ClientError | OrchestratorError, *, as_json: bool) -> None:
    """An error with its code, what happened and what to do."""
    if as_json:
        document: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        if isinstance(error, BadSpec | ServiceError):
            document["errors"] = [{"path": item.path, "message": item.message} for item in error.errors]
        print_json(document)
        return
    console = stderr()
    console.print(f"[bold red]{error.code}[/]: {escape(error.message)}")
    if isinstance(error, ServiceError) and error.code != BadSpec.code:  # whose message has them already
        for item in error.errors:
            console.print(f"  {escape(item.path)}: {escape(item.message)}")
    if error.hint:
        console.print(f"  next: {escape(error.hint)}")


def print_failure(failure: Failure) -> None:
    """Why a job or a deployment failed, with its log and how to repeat it."""
    console = stderr()
    console.print(f"[bold red]{failure.code}[/]: {escape(failure.message)}")
    if failure.hint:
        console.print(f"  next: {escape(failure.hint)}")
    if failure.log_tail:
        console.print(f"  log: {escape(failure.log or '')}")
        for line in failure.log_tail.splitlines()[-10:]:
            console.print(f"  [dim]│ {escape(line)}[/]")
    if failure.command:
        console.print(f"  repeat it by hand: {escape(failure.command)}")


def exit_code_of(error: LaunchError | ClientError | OrchestratorError) -> Exit:
    """2 for what the user wrote, 1 for what happened."""
    of_usage = isinstance(error, BadSpec) or (isinstance(error, ServiceError) and error.status in (400, 413, 415, 422))
    return Exit.BAD_SPEC if of_usage else Exit.FAILED
