"""Tool `command`: your own command line that compresses."""

from __future__ import annotations

import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from launchers.compress.spec import CompressSpec
from launchers.compress.tool import Step, Tool, Workshop
from launchers.engine import Refusal

PLACEHOLDERS = ("model", "output", "python")


class CommandTool(Tool):
    """Runs `command` with its placeholders filled in; it leaves a model's folder or one GGUF file in {output}."""

    name: ClassVar[str] = "command"
    honours: ClassVar[frozenset[str]] = frozenset({"command", "args", "scheme"})

    def steps(self, spec: CompressSpec, source: Path, output: Path, workshop: Workshop) -> tuple[Step, ...]:
        """The user's argv, then `args`."""
        values = {"model": str(source), "output": str(output), "python": sys.executable}
        return (Step((*(word.format(**values) for word in spec.command or ()), *spec.args)),)

    def _impossible(self, spec: CompressSpec, source: Path | None, workshop: Workshop) -> Iterator[Refusal]:
        if not spec.command:
            yield Refusal("command", "tool `command` needs one, e.g. [compress.sh, '{model}', '{output}']")
            return
        try:
            names = {
                name for word in spec.command for _, name, _, _ in string.Formatter().parse(word) if name is not None
            }
        except ValueError as error:
            yield Refusal("command", f"{error}; write a literal brace as {{{{ or }}}}")
            return
        known = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        for name in sorted(names - set(PLACEHOLDERS)):
            yield Refusal("command", f"unknown placeholder {{{name}}}; known: {known}")
        for name in ("model", "output"):
            if name not in names:
                yield Refusal("command", f"must use {{{name}}}")
