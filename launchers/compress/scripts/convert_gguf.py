"""Write a plain Llama model as one GGUF file; runs in an environment with `gguf` and numpy, without torch.

    python convert_gguf.py MODEL OUTPUT.gguf --scheme q8_0 --pre smollm

Facts: llama.cpp turns the rotary pairs of a head next to each other, Hugging Face a half apart, so the rows of the
query and key weights change places. Vectors (norms) stay f32 in every scheme, as in llama.cpp's own conversion.
Which pre-tokenizer it is, is the caller's to know.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
TENSOR_TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
BLOCK = 32
"""Weights that share one scale in q8_0; a row that is no multiple of it stays f16."""


@dataclass(frozen=True)
class Stored:
    """One tensor in a safetensors file; bytes are counted from the start of the file."""

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def main() -> None:
    """Read the folder, write the file, tensor by tensor."""
    asked = _arguments()
    config = json.loads((asked.model / "config.json").read_text())
    writer = gguf.GGUFWriter(asked.output, "llama")
    writer.add_name(asked.model.name)
    writer.add_file_type(FILE_TYPES[asked.scheme])
    _add_shape(writer, config)
    _add_tokenizer(writer, asked.model, config, asked.pre)
    _add_tensors(writer, asked.model, config, asked.scheme)
    writer.close()
    print(f"{asked.output}: {asked.output.stat().st_size} bytes", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write a plain Llama model as one GGUF file.")
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scheme", choices=sorted(FILE_TYPES), required=True)
    parser.add_argument("--pre", required=True, help="llama.cpp's name of the pre-tokenizer")
    return parser.parse_args()


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, model: Path, config: dict[str, Any], pre: str) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    settings = json.loads((model / "tokenizer_config.json").read_text())
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    texts = {number: text for text, number in tokenizer["model"]["vocab"].items()}
    texts.update({number: token["content"] for number, token in added.items()})
    numbers = {text: number for number, text in texts.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in range(config["vocab_size"])])
    writer.add_token_types([_kind(number, texts, added) for number in range(config["vocab_size"])])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    special = {name: numbers.get(_content(settings.get(f"{name}_token"))) for name in ("eos", "pad", "bos")}
    end = special["eos"] if special["eos"] is not None else _first(config["eos_token_id"])
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end if special["pad"] is None else special["pad"])
    # Where the model has no first token, llama.cpp would take number 11, which is an ordinary one here.
    writer.add_bos_token_id(next(number for number in (special["bos"], special["pad"], end) if number is not None))
    writer.add_add_bos_token(bool(settings.get("add_bos_token", False)))
    writer.add_add_eos_token(False)
    if template := _template(model, settings):
        writer.add_chat_template(template)


def _kind(number: int, texts: dict[int, str], added: dict[int, Any]) -> Any:
    if number in added:
        return gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED
    return gguf.TokenType.NORMAL if number in texts else gguf.TokenType.UNUSED


def _content(token: Any) -> str:
    """The text of a token that is written as a string or as a mapping."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _first(number: Any) -> int:
    return int(number[0] if isinstance(number, list) else number)


def _template(model: Path, settings: dict[str, Any]) -> str | None:
    file = model / "chat_template.jinja"
    return file.read_text() if file.is_file() else settings.get("chat_template")


def _add_tensors(writer: Any, model: Path, config: dict[str, Any], scheme: str) -> None:
    """Announce every tensor, then write them one at a time: memory for one is enough."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    wanted = [tensor for tensor in _stored(model) if not _tied(tensor, config)]
    for tensor in wanted:
        kind = _type_of(tensor, scheme)
        name = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise SystemExit(f"{tensor.file.name}: no place in a Llama for the tensor {tensor.name}")
        block, size = gguf.GGML_QUANT_SIZES[kind]
        stored = int(np.prod(tensor.shape)) // block * size
        writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for index, tensor in enumerate(wanted, 1):
        print(f"tensor {index} of {len(wanted)}: {tensor.name}", flush=True)
        weights = _turned(tensor, _read(tensor), config)
        writer.write_tensor_data(gguf.quants.quantize(np.ascontiguousarray(weights), _type_of(tensor, scheme)))


def _stored(model: Path) -> Iterator[Stored]:
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as opened:
            header = int.from_bytes(opened.read(8), "little")
            tensors = json.loads(opened.read(header))
        for name, tensor in tensors.items():
            if name != "__metadata__":
                begin, end = (8 + header + offset for offset in tensor["data_offsets"])
                yield Stored(file, name, tensor["dtype"], tuple(tensor["shape"]), begin, end)


def _tied(tensor: Stored, config: dict[str, Any]) -> bool:
    return tensor.name == "lm_head.weight" and bool(config.get("tie_word_embeddings"))


def _type_of(tensor: Stored, scheme: str) -> Any:
    if len(tensor.shape) == 1:
        return TENSOR_TYPES["f32"]
    if scheme == "q8_0" and tensor.shape[-1] % BLOCK:
        return TENSOR_TYPES["f16"]
    return TENSOR_TYPES[scheme]


def _read(tensor: Stored) -> Any:
    count = (tensor.end - tensor.begin) // np.dtype(STORED[tensor.kind]).itemsize
    raw = np.fromfile(tensor.file, STORED[tensor.kind], count=count, offset=tensor.begin)
    if tensor.kind == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32).reshape(tensor.shape)


def _turned(tensor: Stored, weights: Any, config: dict[str, Any]) -> Any:
    heads = config["num_attention_heads"]
    if tensor.name.endswith("k_proj.weight"):
        heads = config.get("num_key_value_heads") or heads
    elif not tensor.name.endswith("q_proj.weight"):
        return weights
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


if __name__ == "__main__":
    main()
