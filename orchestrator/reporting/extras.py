"""Packages that not everybody needs: found where they are installed, else named with the line that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from orchestrator.errors import OrchestratorError


def extra(module: str, *, name: str) -> Any:
    """The module, imported now: seconds for some. `name` is the extra of this package that brings it.

    Raises: OrchestratorError when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        package = module.partition(".")[0]
        if missing.name != package and missing.name != module:
            raise
        hint = f"pip install 'serve-then-evaluate[{name}]'"
        raise OrchestratorError(
            f"this export needs the package `{package}`, which is not installed", hint=hint
        ) from None
