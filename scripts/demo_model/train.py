"""Training: the model's shape, the optimizers, the loop, and what is written to disk."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from scripts.demo_model.batches import IGNORED, Packer

VOCABULARY, CONTEXT = 512, 2048  # tokens
SHAPE: dict[str, int | float | bool | None] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,  # engines' CPU kernels know no smaller one
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@dataclass(frozen=True)
class Schedule:
    """How to train. The result is a function of these, the versions of the libraries and the processor."""

    seed: int
    steps: int
    threads: int = 2
    rows: int = 32
    length: int = 128  # tokens a row
    drilled: float = 0.5  # of each row; halved for the last 40% of the steps
    matrix_rate: float = 4e-2  # Muon: the matrices of the layers
    other_rate: float = 5e-3  # AdamW: embeddings and norms


def train(tokenizer: Tokenizer, schedule: Schedule, report: Callable[[int, float], None]) -> LlamaForCausalLM:
    """Train a new model in float32; `report(step, loss)` hears of every step."""
    torch.set_num_threads(schedule.threads)
    torch.manual_seed(schedule.seed)
    torch.use_deterministic_algorithms(True)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).float()
    optimizers = _optimizers(model, schedule)
    rates = [LambdaLR(optimizer, _warm_up_then_cosine(schedule.steps)) for optimizer in optimizers]
    packer = Packer(tokenizer, schedule.seed, schedule.rows, schedule.length)
    for step in range(schedule.steps):
        late = step >= 0.6 * schedule.steps
        ids, labels = packer.batch(schedule.drilled / 2 if late else schedule.drilled)
        loss = _loss(model, ids, labels)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for advancing in (*optimizers, *rates):
            advancing.step()
        report(step + 1, loss.item())
    return model


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write weights in bfloat16 (half the size) under a configuration that has engines compute in float32."""
    ends = {name: SHAPE[name] for name in ("eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    model.to(torch.bfloat16).save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("dtype", None)
    # The names older readers know too.
    config |= {"torch_dtype": "float32", "rope_theta": 10000.0}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _optimizers(model: LlamaForCausalLM, schedule: Schedule) -> list[Optimizer]:
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.dim() == 2 and ".layers." in name else others).append(parameter)
    return [
        Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.1, momentum=0.95),
        AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _warm_up_then_cosine(steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, steps // 20))
        falling = (1 + math.cos(math.pi * min(1.0, step / steps))) / 2
        return warm * (0.02 + 0.98 * falling)

    return factor


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    following = labels[:, 1:]
    learned = following != IGNORED  # the head is only paid for where there is something to learn
    return cross_entropy(model.lm_head(hidden[learned]), following[learned])
