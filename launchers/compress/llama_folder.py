"""Whether our own conversion to GGUF fits a model: plain Llama, byte-level BPE with splits that llama.cpp names.

A wrong pre-tokenizer name makes a model that answers, only worse; so what is not exactly known is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
PRE_TOKENIZERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gpt-2", _BYTE_LEVEL),
    ("smollm", {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTE_LEVEL]}),
)
"""llama.cpp's name of each way to split a text before the merges, and the same in a `tokenizer.json`."""


class Unfit(Exception):
    """Our conversion does not fit this model; the text says why."""


def pre_tokenizer_of(folder: Path) -> str:
    """llama.cpp's name for the model's pre-tokenizer.

    Raises: Unfit when our conversion does not cover the model, its tokenizer or its weights.
    """
    _check_config(_json(folder / "config.json"))
    if not list(folder.glob("*.safetensors")):
        raise Unfit("it has no *.safetensors")
    return _check_tokenizer(_json(folder / "tokenizer.json"))


def _check_config(config: dict[str, Any]) -> None:
    if config.get("model_type") != "llama":
        raise Unfit(f"its architecture is `{config.get('model_type')}`, not llama")
    if config.get("quantization_config"):
        raise Unfit("its weights are quantized already")
    if config.get("attention_bias") or config.get("mlp_bias") or config.get("hidden_act", "silu") != "silu":
        raise Unfit("it has biases, or another activation than silu")
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    if (kind := rope.get("rope_type", rope.get("type", "default"))) != "default":
        raise Unfit(f"its rotary embedding is scaled ({kind})")


def _check_tokenizer(tokenizer: dict[str, Any]) -> str:
    if tokenizer.get("model", {}).get("type") != "BPE" or tokenizer.get("normalizer"):
        raise Unfit("its tokenizer is not byte-level BPE without a normalizer")
    if (after := tokenizer.get("post_processor")) and after.get("type") != "ByteLevel":
        raise Unfit("its tokenizer adds tokens around a text")
    for name, splits in PRE_TOKENIZERS:
        if _same(tokenizer.get("pre_tokenizer"), splits):
            return name
    raise Unfit("its tokenizer splits texts in a way that we have no llama.cpp name for")


def _same(found: Any, wanted: dict[str, Any]) -> bool:
    """Equal but for `trim_offsets`, which moves no split."""
    return bool(_plain(found) == _plain(wanted))


def _plain(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _plain(value) for name, value in part.items() if name != "trim_offsets"}
    return [_plain(item) for item in part] if isinstance(part, list) else part


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Unfit(f"{path.name} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise Unfit(f"{path.name} is not a mapping")
    return document
