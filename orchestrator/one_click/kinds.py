"""Which classes of OpenCompass's models are Hugging Face ones, and why others are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["chat", "base", "text"]
"""`chat`: prompts go through the model's chat template; `base`: plain text; `text`: plain text with a meta template."""

_KINDS: Mapping[str, Kind] = {
    "HuggingFacewithChatTemplate": "chat",
    "HuggingFaceBaseModel": "base",
    "HuggingFace": "text",
    "HuggingFaceCausalLM": "text",
}
_CLASS = re.compile(r"^class (\w+)\(([\w, .]+)\)", re.MULTILINE)
_API = "BaseAPIModel"


def class_of(model: Mapping[str, Any]) -> str:
    """The class's own name of an entry of `models`."""
    return str(model.get("type") or "none").rsplit(".", 1)[-1]


def kind_of(model: Mapping[str, Any]) -> Kind | None:
    """What kind of Hugging Face model it is; None when it is none that can be carried over."""
    return _KINDS.get(class_of(model))


def why_not(name: str, package: Path) -> str:
    """Why a model of this class is left out."""
    bases = _bases(package)
    if name not in bases:
        return f"{name} is no class of OpenCompass's: what it does cannot be told"
    if _API in _ancestors(name, bases):
        return f"{name} asks a server that runs elsewhere: there is nothing to serve"
    if name.startswith("HuggingFace"):
        return f"{name} talks to the model's own code (`model.chat`), which no engine has"
    return f"{name} runs an engine in its own process; only {', '.join(_KINDS)} are carried over"


def _ancestors(name: str, bases: Mapping[str, list[str]]) -> Iterator[str]:
    yield name
    for base in bases.get(name, []):
        yield from _ancestors(base, bases)


@cache
def _bases(package: Path) -> dict[str, list[str]]:
    """Base classes by class, read from the text: importing them takes 8 s."""
    texts = (file.read_text() for file in sorted((package / "models").rglob("*.py")))
    found = (match for text in texts for match in _CLASS.findall(text))
    return {name: [base.strip().rsplit(".", 1)[-1] for base in bases.split(",")] for name, bases in found}
