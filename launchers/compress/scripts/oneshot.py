"""Quantize a model with llm-compressor; runs in that library's own environment, which does not know this package.

    python oneshot.py MODEL OUTPUT --scheme w8a8 [--calibration FILE.jsonl --samples 128 --seqlen 1024]

Without calibration the weights are rounded to the nearest value; with it GPTQ (for `w8a8` SmoothQuant before it)
chooses them. Activations of `w8a8` and `fp8` are quantized while serving, per token.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset  # type: ignore[import-not-found]
from llmcompressor import oneshot  # type: ignore[import-not-found]
from llmcompressor.modifiers.gptq import GPTQModifier  # type: ignore[import-not-found]
from llmcompressor.modifiers.quantization import QuantizationModifier  # type: ignore[import-not-found]
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier  # type: ignore[import-not-found]
from transformers import AutoModelForCausalLM, AutoTokenizer  # type: ignore[import-not-found]

SCHEMES = {"w8a8": "W8A8", "w4a16": "W4A16", "fp8": "FP8_DYNAMIC"}
SMOOTHING = 0.8


def main() -> None:
    """Load, quantize, save."""
    asked = _arguments()
    print(f"loading {asked.model}", flush=True)
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype="auto", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(asked.model, local_files_only=True)
    layers = {"targets": "Linear", "scheme": SCHEMES[asked.scheme], "ignore": ["lm_head"]}
    if asked.calibration is None:
        print(f"{asked.scheme}: rounding, without calibration", flush=True)
        oneshot(model=model, recipe=[QuantizationModifier(**layers)])
    else:
        rows = _rows(asked.calibration, tokenizer, asked.samples, asked.seqlen)
        print(f"{asked.scheme}: calibrating on {len(rows)} samples of {asked.calibration}", flush=True)
        recipe: list[Any] = [GPTQModifier(**layers)]
        if asked.scheme == "w8a8":
            recipe.insert(0, SmoothQuantModifier(smoothing_strength=SMOOTHING))
        oneshot(
            model=model,
            dataset=rows,
            recipe=recipe,
            max_seq_length=asked.seqlen,
            num_calibration_samples=len(rows),
        )
    print(f"saving {asked.output}", flush=True)
    model.save_pretrained(asked.output, save_compressed=True)
    _copy_the_rest(asked.model, asked.output)


def _copy_the_rest(model: Path, output: Path) -> None:
    """Tokenizer and templates byte for byte: saved anew they keep the truncation that calibration asked for."""
    for file in model.iterdir():
        weights = file.suffix in (".safetensors", ".bin", ".pt", ".pth", ".gguf") or file.name.endswith(".index.json")
        if file.is_file() and not weights and not (output / file.name).exists():
            shutil.copyfile(file, output / file.name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quantize a model with llm-compressor.")
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scheme", choices=sorted(SCHEMES), required=True)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seqlen", type=int, default=1024)
    return parser.parse_args()


def _rows(path: Path, tokenizer: Any, samples: int, seqlen: int) -> Any:
    with path.open() as file:
        texts = [
            _text(json.loads(line), tokenizer) for line in islice((line for line in file if line.strip()), samples)
        ]
    tokens = [tokenizer(text, max_length=seqlen, truncation=True, add_special_tokens=False) for text in texts]
    return Dataset.from_list([dict(one) for one in tokens])


def _text(row: dict[str, Any], tokenizer: Any) -> str:
    """One row as the model sees it: `text` as it stands, `messages` or `question` and `answer` as a chat."""
    if "text" in row:
        return str(row["text"])
    messages = row.get("messages") or [
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": row["answer"]},
    ]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


if __name__ == "__main__":
    main()
