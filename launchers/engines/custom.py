"""Engine `custom`: your own command that starts an OpenAI-compatible server."""

from __future__ import annotations

import string
import sys
from typing import ClassVar

from launchers.engine import Engine, Launch, Place, Readiness, Refusal
from launchers.flags import Flags
from launchers.spec import ServeSpec

PLACEHOLDERS = ("port", "host", "model", "served_model_name", "nccl_port", "tp", "gpus", "python")


class CustomEngine(Engine):
    """Runs `command` with its placeholders filled in; the server must speak the OpenAI protocol."""

    name: ClassVar[str] = "custom"
    honours: ClassVar[frozenset[str]] = frozenset(
        {"command", "health_path", "tensor_parallel", "pipeline_parallel", "nccl_port", "extra_args"}
    )
    needs_gpu: ClassVar[bool] = False
    needs_nccl_port: ClassVar[bool] = True

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Also refuses a missing command, unknown placeholders, and a command that ignores the leased port."""
        problems = super().refusals(spec, flags)
        if not spec.command:
            example = "[python, srv.py, --port, '{port}']"
            return [*problems, Refusal("command", f"engine `custom` needs a command, e.g. {example}")]
        try:
            names = {name for word in spec.command for name in _placeholders(word)}
        except ValueError as error:
            return [*problems, Refusal("command", f"{error}; write a literal brace as {{{{ or }}}}")]
        unknown = sorted(names - set(PLACEHOLDERS))
        if unknown:
            known = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            problems.append(Refusal("command", f"unknown placeholder {{{unknown[0]}}}; known: {known}"))
        elif "port" not in names and spec.port is None:
            problems.append(Refusal("command", "must use {port}, or `port` must name the port it listens on"))
        return problems

    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """The user's argv with the placeholders filled in, then `extra_args`."""
        values = {
            "port": place.port,
            "host": place.host,
            "model": spec.model or "",
            "served_model_name": spec.served_name,
            "nccl_port": place.nccl_port,
            "tp": spec.tensor_parallel,
            "gpus": ",".join(map(str, place.gpus)),
            "python": sys.executable,
        }
        words = [word.format(**values) for word in spec.command or ()]
        return Launch(argv=(*words, *spec.extra_args))

    def readiness_for(self, spec: ServeSpec) -> Readiness:
        """The user's health path; the model list is not asked for, a plain server may have none."""
        return Readiness(health_path=spec.health_path or "/health", lists_model=False)


def _placeholders(word: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(word) if name is not None}
