"""The command line: `orchestrator COMMAND`."""

from orchestrator.cli.main import main

__all__ = ["main"]
