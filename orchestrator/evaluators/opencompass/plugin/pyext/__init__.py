"""What OpenCompass's LiveCodeBench, APPS and TACO import to load the model's programs, in place of the package `pyext`.

That one cannot be installed on Python 3.11, and without it OpenCompass takes every program for one that does not
compile: all answers wrong, and nothing said.
"""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["RuntimeModule"]


class RuntimeModule:
    """Modules made of text."""

    @staticmethod
    def from_string(name: str, doc: str, source: str) -> ModuleType:
        """Run `source` as module `name`, not as the main one. Raises: whatever it raises."""
        module = ModuleType(name, doc)
        sys.modules[name] = module  # where `dataclass` looks for the module of its class
        exec(compile(source, f"<{name}>", "exec"), module.__dict__)
        return module
