"""What lm-eval is told: a JSON file, readable, and enough to repeat the run by hand.

What it decides, and why (lm-eval 0.4.13):

- Generations and log-likelihoods are asked over different APIs, so a run has up to two parts, in one process.
- `max_retries: 1` and no cache of its own: the gateway retries, and replays what was answered before. Its cache does
  not know which model answered.
- The header makes the gateway answer a request that failed for good with a mark: an error would end the whole run.
- Texts for generations, token ids for log-likelihoods: engines add special tokens to texts, which would shift scores.
- `max_length` is out of reach: by default lm-eval silently clips what is longer than 2048 tokens. Only tasks that score
  whole documents in windows (`loglikelihood_rolling`) need the true one.
- Examples become turns of the conversation over chat, as lm-eval's own command line does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients.errors import TokenizerUnusable
from clients.fidelity.tokenizer import load_tokenizer
from orchestrator.evaluators.base import Target
from orchestrator.evaluators.lm_eval.index import OUR_TASKS
from orchestrator.evaluators.lm_eval.tasks import Asked, Task, TaskRefused
from orchestrator.spec.lm_eval import LmEvalSpec
from orchestrator.spec.models import EvaluateSpec, Generation

DEFAULT_MAX_TOKENS = 1024
"""Longest answer where neither the spec nor the task says."""
DEFAULT_SEED = 1234
"""lm-eval's own: it always sends one."""
DEFAULT_CONTEXT = 2048
"""lm-eval's own window for whole documents, where neither the spec nor the model's config says how long they may be."""
_UNLIMITED = 1_000_000_000
_SEEDS = (0, 1234, 1234, 1234)  # of Python, NumPy, torch and the choice of examples: lm-eval's own


def write_config(
    spec: EvaluateSpec, asked: Sequence[Asked], target: Target, folder: Path, out: Path, include: Path | None
) -> Path:
    """Write `run.json` into `folder`, which exists; results will be under `out`. Returns its path.

    Raises: TaskRefused when texts must be scored and the model's tokenizer is not here.
    """
    parts = [
        _part(name, tasks, spec, target, out)
        for name, tasks in (("generation", _generating(asked)), ("scores", _scoring(asked)))
        if tasks
    ]
    folders = [OUR_TASKS, *({include} if include else ()), *(one.folder for one in asked if one.folder)]
    config = {
        "include_path": list(dict.fromkeys(str(one) for one in folders)),
        "include_defaults": any(not _is_in(task.file, folders) for one in asked for task in one.tasks),
        "limit": spec.limit,
        "num_fewshot": (spec.lm_eval or LmEvalSpec()).num_fewshot,
        "seeds": _SEEDS,
        "parts": parts,
    }
    file = folder / "run.json"
    file.write_text(json.dumps(config, indent=2))
    return file


def _generating(asked: Sequence[Asked]) -> list[tuple[str, list[Task]]]:
    """What is asked for texts: the whole of a group, or those of its tasks that are."""
    return _split(asked, generates=True)


def _scoring(asked: Sequence[Asked]) -> list[tuple[str, list[Task]]]:
    return _split(asked, generates=False)


def _split(asked: Sequence[Asked], *, generates: bool) -> list[tuple[str, list[Task]]]:
    found: list[tuple[str, list[Task]]] = []
    for one in asked:
        fitting = [task for task in one.tasks if task.generates is generates]
        if len(fitting) == len(one.tasks):
            found.append((one.name, fitting))
        else:
            found.extend((task.name, [task]) for task in fitting)
    return found


def _part(
    name: str, asked: list[tuple[str, list[Task]]], spec: EvaluateSpec, target: Target, out: Path
) -> dict[str, Any]:
    tasks = [task for _, own in asked for task in own]
    chat = name == "generation" and (spec.lm_eval or LmEvalSpec()).api != "completions"
    requests = sorted({task.request for task in tasks if task.request})
    return {
        "name": name,
        "model": "local-chat-completions" if chat else "local-completions",
        "model_args": {
            "model": target.model,
            "base_url": f"{target.base_url}/{'chat/completions' if chat else 'completions'}",
            "header": {"x-orchestrator-on-failure": "mark"},
            "num_concurrent": target.concurrency,
            "max_retries": 1,
            "timeout": 86400,
            "max_gen_toks": DEFAULT_MAX_TOKENS,
            "seed": DEFAULT_SEED if spec.generation.seed is None else spec.generation.seed,
            **(_scorer(tasks, target) if name == "scores" else {"max_length": _UNLIMITED, **_texts(chat=chat)}),
        },
        "tasks": [entry for entry, _ in asked],
        "apply_chat_template": chat,
        "gen_kwargs": _sampling(spec.generation),
        "requests": None if any(task.request is None for task in tasks) else requests,
        "output_path": str(out / name),
    }


def _texts(*, chat: bool) -> dict[str, Any]:
    return {} if chat else {"tokenizer_backend": "none", "tokenized_requests": False}


def _scorer(tasks: Sequence[Task], target: Target) -> dict[str, Any]:
    """Arguments for prompts as token ids, which the model's own tokenizer makes."""
    if target.model_folder is None:
        named = ", ".join(f"`{task.name}`" for task in tasks if not task.generates)
        raise TaskRefused(
            f"{named}: scored by log-likelihoods, for which lm-eval needs the model's tokenizer",
            hint="give `serve.model` the model's folder on this machine",
        )
    whole = any(task.request in ("loglikelihood_rolling", None) for task in tasks)
    return {
        "tokenizer": str(target.model_folder),
        "tokenizer_backend": "huggingface",
        "tokenized_requests": True,
        "add_bos_token": _adds_bos(target.model_folder),
        "max_length": _context(target) if whole else _UNLIMITED,
    }


def _adds_bos(folder: Path) -> bool:
    """Does the tokenizer begin every text with a special token? Then the model was trained with it."""
    try:
        tokenizer = load_tokenizer(folder, None)
    except TokenizerUnusable:
        return False
    plain = tokenizer.ids("a", special=False)
    return tokenizer.ids("a", special=True)[1:] == plain


def _context(target: Target) -> int:
    if target.max_model_len is not None:
        return target.max_model_len
    try:
        known = json.loads((target.model_folder or Path()).joinpath("config.json").read_bytes())
    except (OSError, ValueError):
        return DEFAULT_CONTEXT
    longest = known.get("max_position_embeddings") if isinstance(known, dict) else None
    return longest if isinstance(longest, int) else DEFAULT_CONTEXT


def _sampling(generation: Generation) -> dict[str, Any]:
    """What overrides the tasks' own generation arguments."""
    given = {
        "max_gen_toks": generation.max_tokens,
        "top_p": generation.top_p,
        "top_k": generation.top_k,
        "repetition_penalty": generation.repetition_penalty,
        "until": generation.stop or None,
    }
    set_ones = {name: value for name, value in given.items() if value is not None}
    return {"temperature": generation.temperature, "do_sample": generation.temperature > 0, **set_ones}


def _is_in(file: Path, folders: Sequence[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)
