"""A job spec held against the operator's policy: what it may run, read and reach on this machine."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from launchers.compress.spec import CompressSpec
from launchers.spec import ServeSpec
from orchestrator.errors import FieldError, PolicyRefused
from orchestrator.policy import Policy
from orchestrator.secrets import references
from orchestrator.settings import Settings
from orchestrator.spec.models import EvaluateSpec

ANY = ("*",)
PATHS = ("chat_template", "config", "include_path", "path")
"""Fields that always name a file or a folder: `srv/tasks` too, which looks like the id of a model."""
SUFFIXES = (".py", ".json", ".jsonl", ".csv", ".yaml", ".yml")
"""Endings of the files that evaluators and tools read: what has one is no name, with folders before it or without."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
Refused = Iterator[tuple[str, FieldError]]
"""(rule, what it refuses)."""


class Rules:
    """The policy as it holds for this service: every rule that was left out is filled in."""

    def __init__(self, policy: Policy, *, exposed: bool, trust_remote_code: bool, made_models: Path) -> None:
        anything: Sequence[str] = () if exposed else ANY
        self.custom_commands = not exposed if policy.custom_commands is None else policy.custom_commands
        self.extra_args = not exposed if policy.extra_args is None else policy.extra_args
        self.trust_remote_code = trust_remote_code
        self.env = _either(policy.env, anything)
        self.models = (*_either(policy.models, anything), str(made_models))
        self.hub_models = _either(policy.hub_models, ANY)
        self.files = _either(policy.files, anything)
        self.external_urls = _either(policy.external_urls, anything)
        self.engine_hosts = _either(policy.engine_hosts, LOOPBACK_NAMES if exposed else ANY)
        self.secret_env = _either(policy.secret_env, anything)

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules of the service with these settings."""
        return cls(
            settings.policy,
            exposed=settings.service.exposed,
            trust_remote_code=settings.allow_trust_remote_code,
            made_models=settings.models,
        )

    def check(self, serve: ServeSpec, compress: CompressSpec | None, evaluate: Sequence[EvaluateSpec]) -> None:
        """Nothing when all of it is allowed. Raises: PolicyRefused naming every rule that refuses."""
        found = [*self._serve(serve), *self._secrets(serve), *self._files(serve, evaluate)]
        if compress:
            found.extend(self._compress(compress))
        if found:
            raise PolicyRefused(found)

    def _serve(self, serve: ServeSpec) -> Refused:
        if serve.engine == "custom" and not self.custom_commands:
            yield _refused("custom_commands", "serve.engine", "engine `custom` runs any command")
        if serve.trust_remote_code and not self.trust_remote_code:
            yield _refused("allow_trust_remote_code", "serve.trust_remote_code", "it runs code that comes with a model")
        if serve.extra_args and not self.extra_args:
            yield _refused("extra_args", "serve.extra_args", "arguments that the spec does not name")
        if serve.url and not _matches(_base_of(serve.url), self.external_urls):
            yield _refused("external_urls", "serve.url", f"{serve.url} is not among them")
        if not _matches(serve.host, self.engine_hosts):
            yield _refused("engine_hosts", "serve.host", f"an engine at {serve.host} would be open to others")
        for name in serve.env:
            if not _matches(name, self.env):
                yield _refused("env", f"serve.env.{name}", "the variable is not among them")

    def _secrets(self, serve: ServeSpec) -> Refused:
        for name, value in serve.env.items():
            for reference in references(value):
                if reference.kind == "env" and not _matches(reference.name, self.secret_env):
                    yield _refused("secret_env", f"serve.env.{name}", f"{reference} is not among them")

    def _compress(self, compress: CompressSpec) -> Refused:
        if compress.command is not None and not self.custom_commands:
            yield _refused("custom_commands", "compress.command", "tool `command` runs any command")
        if compress.args and not self.extra_args:
            yield _refused("extra_args", "compress.args", "arguments that the spec does not name")
        yield from self._paths("compress", compress.model_dump(exclude={"command", "args"}))

    def _files(self, serve: ServeSpec, evaluate: Sequence[EvaluateSpec]) -> Refused:
        if serve.model and serve.engine != "external":
            yield from self._model(serve.model)
        if serve.chat_template:
            yield from self._paths("serve.chat_template", serve.chat_template)
        for index, one in enumerate(evaluate):
            told = one.model_dump(exclude={"generation": True, "opencompass": {"meta_template": True}})
            yield from self._paths(f"evaluate.{index}", told)

    def _paths(self, path: str, value: object) -> Refused:
        """Every text below `value` that names a file: evaluators have fields of their own."""
        for place, text in _texts(path, value):
            named = place.rpartition(".")[2] in PATHS
            if (named or is_path(text)) and not _below(text, self.files):
                yield _refused("files", place, f"{text} is in none of the folders")

    def _model(self, model: str) -> Refused:
        if is_path(model):
            if not _below(model, self.models):
                yield _refused("models", "serve.model", f"{model} is in none of the folders")
        elif not _matches(model, self.hub_models):
            yield _refused("hub_models", "serve.model", f"{model} is not among them")


def is_path(text: str) -> bool:
    """Whether a spec's text names a file or folder, not something by name or hub id."""
    return text.startswith(("/", "~", ".")) or text.count("/") > 1 or text.endswith(SUFFIXES)


def _refused(rule: str, path: str, what: str) -> tuple[str, FieldError]:
    return rule, FieldError(path, f"policy `{rule}` does not allow it: {what}")


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(f"{path}.{key}", inner)
    elif isinstance(value, Sequence):
        for index, inner in enumerate(value):
            yield from _texts(f"{path}.{index}", inner)


def _either(given: Sequence[str] | None, default: Sequence[str]) -> tuple[str, ...]:
    return tuple(default if given is None else given)


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def _below(path: str, folders: Sequence[str]) -> bool:
    """Whether the path leads into one of the folders, whatever links are on the way. A relative one leads nowhere."""
    place = Path(path).expanduser()
    if "*" in folders or not place.is_absolute():
        return "*" in folders
    return any(place.resolve().is_relative_to(Path(folder).expanduser().resolve()) for folder in folders)


def _base_of(url: str) -> str:
    """Scheme, host and port: what a pattern is held against."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
