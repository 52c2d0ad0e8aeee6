"""The model card: how the model was made and what it scores, written from the run that made it."""

import hashlib
from pathlib import Path

import tokenizers
import torch
import transformers

from scripts.demo_model.score import Score
from scripts.demo_model.train import SHAPE, Schedule

WEIGHTS = "model.safetensors"
_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A tiny Llama ({parameters} parameters) that solves short arithmetic word problems in GSM8K form, step by step.
It exists so that a real engine and a real evaluator can be shown and tested on any machine; it knows nothing
else.

Made on {threads} CPU threads by

    {command}

from problems that a program draws: no other data, nothing downloaded. Same seed, libraries and kind of
processor: same weights (PyTorch {torch}, transformers {transformers}, tokenizers {tokenizers}).

- Shape: vocabulary {vocab_size}, hidden {hidden_size}, {num_hidden_layers} layers,
  {num_attention_heads} heads of {head_dim}, {num_key_value_heads} key-value heads, MLP {intermediate_size},
  tied embeddings, context {max_position_embeddings} (trained on rows of {length} tokens).
- Tokenizer: byte-level BPE, one token per digit. Chat format: ChatML.
- Weights: bfloat16 on disk; the configuration asks engines to compute in float32.
- `{weights}` sha256: `{sha256}`

## Held-out accuracy

{asked} problems, greedy, float32. No sum or difference that these problems ask for was asked for in training;
products were trained with other things counted. Large sums (three digits) were never trained: they are there
to be failed.

| asked as | accuracy |
|---|---|
{scores}

By kind, in the first style: {kinds}.
"""


def write_card(folder: Path, command: str, schedule: Schedule, parameters: int, scores: list[Score]) -> None:
    """Write `README.md` into the model's folder, next to the weights it describes."""
    first = scores[0]
    kinds = (f"{kind} {first.solved[kind]}/{count}" for kind, count in sorted(first.asked.items()))
    text = _CARD.format(
        **SHAPE,
        name=folder.name,
        command=command,
        parameters=f"{parameters / 1e6:.2f} million",
        threads=schedule.threads,
        length=schedule.length,
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        tokenizers=tokenizers.__version__,
        weights=WEIGHTS,
        sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        asked=first.asked.total(),
        scores="\n".join(f"| {score.style.name} | {score.accuracy:.1%} |" for score in scores),
        kinds=", ".join(kinds),
    )
    (folder / "README.md").write_text(text)
