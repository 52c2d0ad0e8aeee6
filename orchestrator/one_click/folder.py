"""What a model's folder says that Hugging Face's `generate` heeds and a request to a server has to say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The files of a model that is on this machine."""

    generation: dict[str, Any]
    """`generation_config.json`."""
    config: dict[str, Any]
    """`config.json`."""
    special: dict[str, int]
    """Special tokens of the tokenizer: text -> id."""

    @property
    def ends(self) -> frozenset[int]:
        """Tokens at which every engine ends an answer by itself."""
        given = self.generation.get("eos_token_id", self.config.get("eos_token_id"))
        return frozenset(given if isinstance(given, list) else [] if given is None else [given])

    @property
    def brings_code(self) -> bool:
        """Whether the model cannot be loaded without its own Python code."""
        return "auto_map" in self.config


def model_folder(path: str, base: Path) -> ModelFolder | None:
    """What the folder at `path` says; see `folder_at`."""
    folder = folder_at(path, base)
    if folder is None:
        return None
    tokens = _read(folder / "tokenizer.json").get("added_tokens") or []
    special = {token["content"]: token["id"] for token in tokens if token.get("special")}
    return ModelFolder(_read(folder / "generation_config.json"), _read(folder / "config.json"), special)


def folder_at(path: str, base: Path) -> Path | None:
    """The folder, relative ones from `base` or the current one; None when it is not here (a hub id)."""
    written = Path(path).expanduser()
    return next((place for place in (base / written, Path.cwd() / written) if place.is_dir()), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
