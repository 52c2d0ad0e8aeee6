"""The config file that OpenCompass is given: readable, and enough to repeat the run by hand.

What it decides, and why (OpenCompass 0.5.4):

- `OpenAISDK`: the other API classes retry for ever or have no time limit.
- `OpenICLInferConcurrentTask`: no barrier after each batch, and its progress can be read.
- `debug=True` at the runners: both tasks run in the one process, which saves two imports of 8 s.
- The tokenizer: OpenCompass counts tokens only to clip prompts and answers silently. What is asked is what is
  sent, so `max_seq_len` is out of reach and the tokenizer counts any text as one token. The model's own would
  cost two thirds of the client's time, and OpenCompass would run code that comes with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

from orchestrator.evaluators.base import Target
from orchestrator.evaluators.opencompass.datasets import DatasetConfig
from orchestrator.spec.models import EvaluateSpec, Generation

DEFAULT_MAX_TOKENS = 1024
"""Longest answer where neither the spec nor the data set says."""

# OpenCompass takes a model whose name contains one of these for one of OpenAI's and leaves `temperature` out.
_NAMES_WITH_MEANING = ("o1", "o3", "o4", "gpt-5")
_SAFE_NAME = "served-model"

_COUNTER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}
_COUNTER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}

_TEMPLATE = '''\
"""OpenCompass on {datasets}: written by the orchestrator, can be run by hand."""

from mmengine.config import read_base
from opencompass.models import OpenAISDK
from opencompass.partitioners import NaivePartitioner
from opencompass.runners import LocalRunner
from opencompass.tasks import OpenICLEvalTask, OpenICLInferConcurrentTask

with read_base():
{imports}

datasets = [{lists}]
names = []
for dataset in datasets:
    # Results are files that are named after their data set: plain names, none twice.
    dataset["abbr"] = (dataset.get("abbr") or dataset["path"]).replace("/", "-")
    while dataset["abbr"] in names:
        dataset["abbr"] += "_again"
    names.append(dataset["abbr"])
{changes}del {leftovers}, dataset, names

models = [
    dict(
        type=OpenAISDK,
        abbr={abbr!r},
        path={path!r},{path_comment}
        key="none",
        openai_api_base={base_url!r},
        http_client_cfg=dict(trust_env=False),  # no proxy of the environment between us and the gateway
        # A request that failed for good comes back as a marked answer: found afterwards, never scored.
        openai_extra_kwargs={extra},
        extra_body={body},
        temperature={temperature!r},
        max_out_len={default_max_tokens},  # where the data set says nothing
        max_seq_len=1_000_000_000,  # nothing is clipped: what does not fit, the engine refuses
        tokenizer_path={counter!r},  # counts any text as one token
        max_workers={concurrency},
        batch_size=1,
        query_per_second=1000,
        retry=2,
        timeout=86400,
        meta_template=dict(
            round=[
                dict(role="HUMAN", api_role="HUMAN"),
                dict(role="BOT", api_role="BOT", generate=True),
            ],
            reserved_roles=[dict(role="SYSTEM", api_role="SYSTEM")],
        ),
    )
]
infer = dict(
    partitioner=dict(type=NaivePartitioner, n=100_000, keep_keys=["poll_interval"]),
    runner=dict(type=LocalRunner, debug=True, task=dict(type=OpenICLInferConcurrentTask)),
)
eval = dict(
    partitioner=dict(type=NaivePartitioner, n=100_000),
    runner=dict(type=LocalRunner, debug=True, task=dict(type=OpenICLEvalTask)),
)
poll_interval = 0.05
'''

_LIMIT = """\
    # The first {limit} of what the data set's own range leaves.
    if dataset.get("n", 1) > 1 or not isinstance(dataset["reader_cfg"].get("test_range", ""), str):
        raise ValueError(dataset["abbr"] + " repeats or samples its questions: it cannot be limited")
    dataset["reader_cfg"]["test_range"] = dataset["reader_cfg"].get("test_range", "") + "[0:{limit}]"
"""
_MAX_TOKENS = """\
    dataset["infer_cfg"]["inferencer"]["max_out_len"] = {max_tokens}
"""


def write_config(spec: EvaluateSpec, configs: Sequence[DatasetConfig], target: Target, folder: Path) -> Path:
    """Write `eval.py` and what it needs into `folder` (new, absolute); returns its path."""
    folder.mkdir(parents=True)
    counter = folder / "counter"
    counter.mkdir()
    (counter / "tokenizer.json").write_text(json.dumps(_COUNTER))
    (counter / "tokenizer_config.json").write_text(json.dumps(_COUNTER_CONFIG))
    modules = [_module(config, index, folder) for index, config in enumerate(configs)]
    file = folder / "eval.py"
    file.write_text(_text(spec, configs, modules, target, counter))
    return file


def _module(config: DatasetConfig, index: int, folder: Path) -> str:
    """Module to import; files outside the package are reached through a link, so that their own imports work."""
    if config.module:
        return config.module
    link = f"own_{index}"
    (folder / link).symlink_to(config.file.parent)
    return f".{link}.{config.file.stem}"


def _text(
    spec: EvaluateSpec,
    configs: Sequence[DatasetConfig],
    modules: Sequence[str],
    target: Target,
    counter: Path,
) -> str:
    lists = [
        (f"from {module} import {variable} as", f"set_{index}_{position}")
        for index, (config, module) in enumerate(zip(configs, modules, strict=True))
        for position, variable in enumerate(config.variables)
    ]
    path = _SAFE_NAME if any(part in target.model for part in _NAMES_WITH_MEANING) else target.model
    comment = f"  # stands for {target.model!r}, whose name means something to OpenCompass"
    return _TEMPLATE.format(
        datasets=json.dumps([config.name for config in configs])[1:-1].replace("\\", "/").replace('"', "`"),
        imports="\n".join(f"    {start} {alias}" for start, alias in lists),
        lists=", ".join(f"*{alias}" for _, alias in lists),
        leftovers=", ".join(alias for _, alias in lists),
        changes=_changes(spec),
        abbr=_abbr(spec, target),
        path=path,
        path_comment=comment if path != target.model else "",
        base_url=target.base_url,
        extra=_literal(_extra(spec.generation)),
        body=_literal(_body(spec.generation)),
        temperature=spec.generation.temperature,
        default_max_tokens=DEFAULT_MAX_TOKENS,
        counter=str(counter),
        concurrency=target.concurrency,
    )


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


def _literal(value: dict[str, Any]) -> str:
    return pformat(value, width=90, sort_dicts=False).replace("\n", "\n        ")


def _abbr(spec: EvaluateSpec, target: Target) -> str:
    """Name of the result folders: the model, and a digest of everything that shapes its answers."""
    digest = hashlib.sha256(f"{target.model}\0{spec.model_dump_json()}".encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", target.model.rstrip("/").rsplit("/", 1)[-1])[:60]
    return f"{plain.strip('.-') or 'model'}-{digest}"
