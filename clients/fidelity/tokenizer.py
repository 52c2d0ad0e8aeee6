"""The model folder's own tokenizer and chat template, without the library that usually holds them.

`tokenizer.json` is all that a fast tokenizer is, and a chat template is Jinja. What a template may use beside plain
Jinja, and which of several files counts, follows transformers 5.23, `utils/chat_template_utils.py` and
`tokenization_utils_base.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from clients.errors import TokenizerUnusable

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LocalTokenizer:
    """Counts the tokens that a prompt should have."""

    encoder: Tokenizer
    template: str | None
    """Source of the chat template; None: the model has none."""
    special: Mapping[str, str]
    """Special tokens by role: `bos_token`, `eos_token`, ..."""

    def ids(self, text: str, *, special: bool) -> list[int]:
        """Token ids; with `special`, those that the tokenizer adds around a plain text too."""
        return list(self.encoder.encode(text, add_special_tokens=special).ids)

    def count(self, text: str, *, special: bool) -> int:
        """How many tokens `text` has."""
        return len(self.ids(text, special=special))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **more: Any) -> str:
        """The prompt that the model's chat template makes of a conversation.

        Raises: TokenizerUnusable when there is no template, or it refuses these messages.
        """
        if self.template is None:
            raise TokenizerUnusable("the model's folder has no chat template")
        values = {"tools": None, "documents": None, **self.special, **more}
        try:
            template = _environment().from_string(self.template)
            return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **values)
        except (TemplateError, TypeError, ValueError) as error:
            raise TokenizerUnusable(f"the chat template refuses: {error}") from error


def load_tokenizer(folder: Path, chat_template: Path | None = None) -> LocalTokenizer:
    """Read a model's folder; `chat_template` replaces the model's own.

    Raises: TokenizerUnusable when it has no `tokenizer.json`, or a file of it cannot be read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise TokenizerUnusable(f"{folder} has no tokenizer.json")
    try:
        encoder = Tokenizer.from_file(str(file))
        config = _json(folder / "tokenizer_config.json")
        special = _special({**_json(folder / "special_tokens_map.json"), **config})
        template = chat_template.read_text() if chat_template else _template(folder, config)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise TokenizerUnusable(f"the tokenizer in {folder} cannot be read: {error}") from error
    encoder.no_truncation()
    encoder.no_padding()
    return LocalTokenizer(encoder, template, special)


class _GenerationTag(Extension):
    """`{% generation %}` marks what a model says, for training; here its content is all that counts."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _json(file: Path) -> dict[str, Any]:
    found = orjson.loads(file.read_bytes()) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """A file of its own comes before the entry in the tokenizer's config."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text()
    found = _json(folder / "chat_template.json").get("chat_template") or config.get("chat_template")
    if isinstance(found, list):  # several named ones
        named = {entry["name"]: entry["template"] for entry in found}
        found = named.get("default")
    return str(found) if found else None


def _special(config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens are plain texts, or objects with the text in `content`."""
    texts = {
        name: value["content"] if isinstance(value, dict) and "content" in value else value
        for name, value in config.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}
