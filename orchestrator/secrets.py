"""Secrets in a spec: only by reference, `${env:NAME}` or `${file:NAME}`, as a value of `serve.env`.

The reference stays as it is written in the spec, the record, the events and every command that is shown. Its value
exists in the environment of the engine's process, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import FieldError, SecretMissing

_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")
_SECRET_NAME = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST = 6
"""Characters of the shortest value that is looked for in texts: a shorter one would hide half of every log."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is."""

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


def references(text: str) -> list[Reference]:
    """Every reference in `text`."""
    return [Reference("env" if kind == "env" else "file", name) for kind, name in _REFERENCE.findall(text)]


def check_secrets(document: Mapping[str, Any]) -> list[FieldError]:
    """Errors of a job spec (as a document): secrets written out, and references where they are not resolved."""
    variables = document.get("serve", {}).get("env", {})
    return [
        *(
            FieldError(f"serve.env.{name}", f"looks like a secret: give it by reference, ${{env:{name}}}")
            for name, value in variables.items()
            if value and _SECRET_NAME.search(name) and not references(value)
        ),
        *(
            FieldError(path, "references to secrets are resolved in the values of `serve.env` only")
            for path, text in _texts("", document)
            if not path.startswith("serve.env.") and references(text)
        ),
    ]


class Vault:
    """Resolves references for one runner, and keeps what it gave out from being shown."""

    def __init__(self, files: Path, environ: Mapping[str, str] = os.environ) -> None:
        """`files` is the folder that `${file:NAME}` reads from: the operator's, never the spec's."""
        self._files = files
        self._environ = environ
        self._given: dict[str, Reference] = {}

    def resolve(self, env: Mapping[str, str]) -> dict[str, str]:
        """The variables with the values in place of the references. Raises: SecretMissing."""
        return {name: _REFERENCE.sub(self._value, text) for name, text in env.items()}

    def redact(self, text: str) -> str:
        """`text` with the reference in place of every value that was given out."""
        for value, reference in sorted(self._given.items(), key=lambda item: -len(item[0])):
            text = text.replace(value, str(reference))
        return text

    def _value(self, found: re.Match[str]) -> str:
        reference = references(found[0])[0]
        value = self._variable(reference) if reference.kind == "env" else self._file(reference)
        if len(value) >= SHORTEST:
            self._given[value] = reference
        return value

    def _variable(self, reference: Reference) -> str:
        if (value := self._environ.get(reference.name)) is None:
            raise SecretMissing(f"{reference}: no such variable here", hint="set it where the service is started")
        return value

    def _file(self, reference: Reference) -> str:
        path = (self._files / reference.name).resolve()
        hint = f"put the file into {self._files}; `policy.secret_files` names another folder"
        if not path.is_relative_to(self._files.resolve()):
            raise SecretMissing(f"{reference} leads out of the folder of secrets", hint=hint)
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{reference} cannot be read: {type(error).__name__}", hint=hint) from None


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(f"{path}.{index}", inner)
