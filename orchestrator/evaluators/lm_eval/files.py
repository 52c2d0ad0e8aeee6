"""lm-eval's task files: YAML with `include` and `!function`, read without importing anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

# Such a key at the beginning of a line, in quotes or not, and the lines that belong to it.
_HEAD = re.compile(rb"""^["']?(?:task|group|tag|include|class)["']?[ \t]*:.*(?:\n(?:[ \t#-].*|\s*$))*""", re.MULTILINE)
_Fast: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fast):  # type: ignore[misc, valid-type]
    """Takes `!function utils.answer` for its text."""


def _plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _plain)


def read_config(file: Path) -> dict[str, Any]:
    """The whole of a task file, what it includes merged in; its own keys win.

    Raises: OSError, ValueError for what is no YAML mapping or includes itself.
    """
    return _merged(file, frozenset(), head=False)


def read_head(file: Path) -> dict[str, Any]:
    """As `read_config`, of what names a task only: `task`, `group`, `tag`, `class`. Ten times as fast."""
    return _merged(file, frozenset(), head=True)


def _merged(file: Path, seen: frozenset[Path], *, head: bool) -> dict[str, Any]:
    file = file.resolve()
    if file in seen:
        raise ValueError(f"{file} includes itself")
    own = _parsed(file, head=head)
    included = own.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged.update(_merged(file.parent / str(name), seen | {file}, head=head))
    return {**merged, **own}


def _parsed(file: Path, *, head: bool) -> dict[str, Any]:
    text = file.read_bytes()
    try:
        content = yaml.load(b"\n".join(_HEAD.findall(text)) if head else text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {error}") from None
    if content is None and head:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not a mapping")
    return content
