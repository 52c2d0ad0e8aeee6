"""The config file that OpenCompass is given: readable, and with the plug-in enough to repeat the run by hand.

What it decides, and why (OpenCompass 0.5.4):

- `OpenAISDK`: the other API classes retry for ever or have no time limit.
- `OpenICLInferConcurrentTask`: no barrier after each batch, and its progress can be read.
- A runner of ours: both tasks run in the one process, which saves two imports of 8 s, and no task's config is laid
  out and written on the way, which takes a second for ten data sets and is for nothing.
- Where texts are scored (perplexity) or completed without a chat template, a model and a task of ours stand in for
  theirs: `plugin/orchestrated/served.py`, found through PYTHONPATH.
- The tokenizer: OpenCompass counts tokens only to clip prompts and answers silently. What is asked is what is
  sent, so `max_seq_len` is out of reach and the tokenizer counts any text as one token. The model's own would
  cost two thirds of the client's time, and OpenCompass would run code that comes with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

from orchestrator.evaluators.base import Target
from orchestrator.evaluators.opencompass.datasets import DatasetConfig
from orchestrator.evaluators.opencompass.judge import Judge
from orchestrator.spec.models import EvaluateSpec, Generation
from orchestrator.spec.opencompass import OpenCompassSpec

DEFAULT_MAX_TOKENS = 1024
"""Longest answer where neither the spec nor the data set says."""

# OpenCompass takes a model whose name contains one of these for one of OpenAI's and leaves `temperature` out.
_NAMES_WITH_MEANING = ("o1", "o3", "o4", "gpt-5")
_SAFE_NAME = "served-model"
_STANDS_FOR = "  # stands for {!r}, whose name means something to OpenCompass"

_COUNTER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}
_COUNTER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}

_TEMPLATE = '''\
"""OpenCompass on {datasets}: written by the orchestrator; the record's command repeats the run."""

{classes}

{imports}{judge}datasets = [{lists}]
names = []
for dataset in datasets:
    # Results are files that are named after their data set: plain names, none twice.
    dataset["abbr"] = (dataset.get("abbr") or dataset["path"]).replace("/", "-")
    while dataset["abbr"] in names:
        dataset["abbr"] += "_again"
    names.append(dataset["abbr"])
    if "type" not in dataset:
        continue  # a file of data: OpenCompass makes the rest
{changes}{judged}del {leftovers}dataset, names

models = [
    dict(
        type={model_class},
        abbr={abbr!r},
        path={path!r},{path_comment}
        key="none",
        openai_api_base={base_url!r},
        http_client_cfg=dict(trust_env=False),  # no proxy of the environment between us and the gateway
        # A request that failed for good comes back as a marked answer: found afterwards, never scored.
        openai_extra_kwargs={extra},
        extra_body={body},
        temperature={temperature!r},
        max_out_len={max_tokens},{max_tokens_comment}
        max_seq_len=1_000_000_000,  # nothing is clipped: what does not fit, the engine refuses
        tokenizer_path={counter!r},  # counts any text as one token
        max_workers={concurrency},
        batch_size=1,
        query_per_second=1000,
        retry=2,
        timeout=86400,
        meta_template={meta_template},{text}
    )
]
infer = dict(
    partitioner=dict(type=NaivePartitioner, n=100_000, keep_keys=["poll_interval"]),
    runner=dict(type=InProcess, task=dict(type={infer_task})),
)
eval = dict(
    partitioner=dict(type=NaivePartitioner, n=100_000),
    runner=dict(type={eval_runner}, task=dict(type={eval_task})),
)
poll_interval = 0.05
'''

_CHAT = {
    "round": [{"role": "HUMAN", "api_role": "HUMAN"}, {"role": "BOT", "api_role": "BOT", "generate": True}],
    "reserved_roles": [{"role": "SYSTEM", "api_role": "SYSTEM"}],
}

_LIMIT = """\
    # The first {limit} of what the data set's own range leaves.
    plain = isinstance(dataset.get("reader_cfg"), dict)
    if dataset.get("n", 1) > 1 or not plain or not isinstance(dataset["reader_cfg"].get("test_range", ""), str):
        raise ValueError(dataset["abbr"] + " repeats or samples its questions: no limit")
    dataset["reader_cfg"]["test_range"] = dataset["reader_cfg"].get("test_range", "") + "[0:{limit}]"
"""
_JUDGE = """\
judge = dict(
    type=OpenAISDK,
    abbr="judge",
    path={model!r},
    key={key!r},
    openai_api_base={base_url!r},
    http_client_cfg=dict(trust_env=False),
    temperature=0.0,
    max_out_len={max_tokens},
    max_seq_len=1_000_000_000,
    tokenizer_path={counter!r},
    max_workers=32,
    batch_size=1024,
    query_per_second=1000,
    retry=4,
    timeout=600,
    meta_template={chat},
)
"""
_JUDGED = """\
    for place in (dataset["eval_cfg"]["evaluator"], dataset["eval_cfg"]["evaluator"].get("llm_evaluator", dict())):
        if "judge_cfg" in place and not place["judge_cfg"]:
            place["judge_cfg"] = judge
        if "dataset_cfg" in place and "test_range" in dataset["reader_cfg"]:
            place["dataset_cfg"]["reader_cfg"]["test_range"] = dataset["reader_cfg"]["test_range"]  # the same rows
"""
_MAX_TOKENS = """\
    dataset["infer_cfg"]["inferencer"]["max_out_len"] = {max_tokens}
"""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a config needs beside data sets and the model."""

    summarizer: tuple[Path, str | None] | None = None
    """Its file, and its module where it is one of OpenCompass's own."""
    judge: Judge | None = None


def write_config(
    spec: EvaluateSpec, configs: Sequence[DatasetConfig], target: Target, folder: Path, beside: Beside
) -> Path:
    """Write `eval.py` and what it needs into `folder` (new, absolute); returns its path."""
    folder.mkdir(parents=True)
    counter = folder / "counter"
    counter.mkdir()
    (counter / "tokenizer.json").write_text(json.dumps(_COUNTER))
    (counter / "tokenizer_config.json").write_text(json.dumps(_COUNTER_CONFIG))
    file = folder / "eval.py"
    parts = {
        **_of_datasets(spec, configs, folder, beside),
        **_of_model(spec, configs, target, beside),
        **_of_judge(spec.opencompass, beside.judge, counter),
        "counter": str(counter),
    }
    file.write_text(_TEMPLATE.format(**parts))
    return file


def _of_datasets(spec: EvaluateSpec, configs: Sequence[DatasetConfig], folder: Path, beside: Beside) -> dict[str, Any]:
    """The parts of the text that bring in the data sets and the summarizer."""
    lists = [
        (config, f"from {_module(config.file, config.module, index, folder)} import {variable} as", f"set_{index}_{at}")
        for index, config in enumerate(configs)
        for at, variable in enumerate(config.variables or ("",))
    ]
    imports = [f"    {start} {alias}" for config, start, alias in lists if not config.custom]
    if beside.summarizer:
        imports.append(f"    from {_module(*beside.summarizer, len(configs), folder)} import summarizer")
    parts = (
        _literal(config.custom.entry(spec.limit), 4) if config.custom else f"*{alias}" for config, _, alias in lists
    )
    aliases = [alias for config, _, alias in lists if not config.custom]
    helpers = [
        *(["plain"] if spec.limit is not None and aliases else []),
        *(["place"] if beside.judge and aliases else []),
    ]
    return {
        "datasets": json.dumps([config.name for config in configs])[1:-1].replace("\\", "/").replace('"', "`"),
        "imports": "\n".join(["with read_base():", *imports, "\n"]) if imports else "",
        "lists": ", ".join(parts),
        "leftovers": "".join(f"{name}, " for name in [*aliases, *helpers]),
        "changes": _changes(spec),
    }


def _of_model(spec: EvaluateSpec, configs: Sequence[DatasetConfig], target: Target, beside: Beside) -> dict[str, Any]:
    """The parts of the text that say who is asked, and by which classes."""
    options = spec.opencompass or OpenCompassSpec()
    text = options.prompts == "text"
    ours = text or options.strip_prompts or any("scores" in config.needs for config in configs)
    guarded = any("sandbox" in config.needs for config in configs)
    model, infer = ("ServedModel", "ServedInferTask") if ours else ("OpenAISDK", "OpenICLInferConcurrentTask")
    given, path = spec.generation.max_tokens, _path(target)
    return {
        "classes": _classes(ours, guarded, judged=beside.judge is not None),
        "model_class": model,
        "infer_task": infer,
        "eval_task": "GuardedEvalTask" if guarded else "OpenICLEvalTask",
        "eval_runner": "LocalRunner" if guarded else "InProcess",
        "abbr": _abbr(spec, target),
        "path": path,
        "path_comment": "" if path == target.model else _STANDS_FOR.format(target.model),
        "base_url": target.base_url,
        "extra": _literal(_extra(spec.generation)),
        "body": _literal(_body(spec.generation)),
        "temperature": spec.generation.temperature,
        "max_tokens": given or options.max_out_len or DEFAULT_MAX_TOKENS,
        "max_tokens_comment": "" if given else "  # where the data set says nothing",
        "concurrency": target.concurrency,
        "meta_template": _literal(options.meta_template or (None if text else _CHAT)),
        "text": f"\n        text={text},\n        strip={options.strip_prompts}," if ours else "",
    }


def _classes(ours: bool, guarded: bool, *, judged: bool) -> str:
    """Import lines in their order."""
    tasks = [*(["OpenICLEvalTask"] if not guarded else []), *(["OpenICLInferConcurrentTask"] if not ours else [])]
    return "\n".join(
        [
            "from mmengine.config import read_base",
            *(["from opencompass.models import OpenAISDK"] if judged or not ours else []),
            "from opencompass.partitioners import NaivePartitioner",
            *(["from opencompass.runners import LocalRunner"] if guarded else []),
            *([f"from opencompass.tasks import {', '.join(tasks)}"] if tasks else []),
            *(["from orchestrated.guarded import GuardedEvalTask"] if guarded else []),
            "from orchestrated.runner import InProcess",
            *(["from orchestrated.served import ServedInferTask, ServedModel"] if ours else []),
        ]
    )


def _path(target: Target) -> str:
    return _SAFE_NAME if any(part in target.model for part in _NAMES_WITH_MEANING) else target.model


def _module(file: Path, module: str | None, index: int, folder: Path) -> str:
    """Module to import; files outside the package are reached through a link, so that their own imports work."""
    if module:
        return module
    link = folder / f"own_{index}"
    if not link.is_symlink():
        link.symlink_to(file.parent)
    return f".{link.name}.{file.stem}"


def _of_judge(options: OpenCompassSpec | None, judge: Judge | None, counter: Path) -> dict[str, str]:
    """The parts of the text about the model that judges; empty ones without one."""
    if judge is None or options is None or options.judge is None:
        return {"judge": "", "judged": ""}
    text = _JUDGE.format(
        model=judge.model,
        # `ENV` is OpenCompass's word for the variable OPENAI_API_KEY, which the command sets.
        key="ENV" if options.judge.api_key_variable else "none",
        base_url=judge.base_url,
        max_tokens=options.judge.max_tokens,
        counter=str(counter),
        chat=_literal(_CHAT, 4),
    )
    return {"judge": text, "judged": _JUDGED}


def _changes(spec: EvaluateSpec) -> str:
    limit = _LIMIT.format(limit=spec.limit) if spec.limit is not None else ""
    max_tokens = spec.generation.max_tokens
    return limit + (_MAX_TOKENS.format(max_tokens=max_tokens) if max_tokens is not None else "")


def _extra(generation: Generation) -> dict[str, Any]:
    """Arguments of the OpenAI client's own."""
    sampling = {"top_p": generation.top_p, "seed": generation.seed, "stop": generation.stop or None}
    given = {name: value for name, value in sampling.items() if value is not None}
    return {"extra_headers": {"x-orchestrator-on-failure": "mark"}, **given}


def _body(generation: Generation) -> dict[str, Any]:
    """Fields that the OpenAI client does not know, but engines do."""
    sampling = {"top_k": generation.top_k, "repetition_penalty": generation.repetition_penalty}
    return {name: value for name, value in sampling.items() if value is not None}


def _literal(value: Any, indent: int = 8) -> str:
    return pformat(value, width=90, sort_dicts=False).replace("\n", "\n" + " " * indent)


def _abbr(spec: EvaluateSpec, target: Target) -> str:
    """Name of the result folders: the model, and a digest of everything that shapes its answers."""
    digest = hashlib.sha256(f"{target.model}\0{spec.model_dump_json()}".encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", target.model.rstrip("/").rsplit("/", 1)[-1])[:60]
    return f"{plain.strip('.-') or 'model'}-{digest}"
