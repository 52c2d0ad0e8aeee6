"""The identity of what serves: two answers may stand for each other only when it is equal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clients.rules import request_rules
from clients.spec import GatewaySpec
from launchers.environments import Environment, Recipe
from launchers.gpus import discover
from launchers.models import model_fingerprint
from launchers.spec import ServeSpec
from orchestrator.allocation import Allocation
from orchestrator.identity import GpuIdentity, SamplingIdentity, ServingIdentity
from orchestrator.spec.models import JobSpec

_NOT_IDENTITY = frozenset(
    {"host", "port", "nccl_port", "gpus", "replicas", "startup_timeout", "stall_timeout", "max_restarts"}
)
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt")
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*])?==([^\s;\\]+)(.*)")


def serving_identity(job: JobSpec, serve: ServeSpec, allocation: Allocation) -> ServingIdentity:
    """What serves `job`, in words; `serve` is its spec as it is really served. Reads the model's small files."""
    environment, replicas = allocation.environment, allocation.replicas
    model = Path(serve.model).expanduser() if serve.model else None
    # Declared GPUs have nothing to tell, so the operator's number of them is not needed.
    inventory = discover(None)
    held = [gpu for gpu in inventory.gpus if gpu.index in allocation.gpus]
    return ServingIdentity(
        digest=serving_fingerprint(serve, job.gateway, allocation),
        engine=allocation.engine.name,
        version=environment.version if environment else None,
        torch=environment.packages.get("torch") if environment else None,
        requirements=environment.requirements_hash if environment else None,
        packages_off=_packages_off(allocation.engine.recipe, environment),
        argv=[list(planned.command.argv) for planned in replicas],
        env=dict(replicas[0].command.env) if replicas else {},
        model=serve.model,
        model_hash=model_fingerprint(model) if model else None,
        tokenizer_hash=_hash_of(model / name for name in _TOKENIZER) if model else None,
        template_hash=_template_hash(serve, model),
        sampling=_sampling(job, allocation, model),
        gpus=[GpuIdentity(index=gpu.index, name=gpu.name, memory_total=gpu.memory_total) for gpu in held],
        driver=inventory.driver,
    )


def serving_fingerprint(spec: ServeSpec, gateway: GatewaySpec, allocation: Allocation) -> str:
    """Engine, its environment, the model's files and every parameter that can change an engine's answer.

    Rules on answers are none of it: they apply on the way out of the journal too.
    """
    parameters = spec.model_dump(mode="json", exclude=set(_NOT_IDENTITY))
    identity = {
        "engine": allocation.engine.name,
        "environment": allocation.environment.requirements_hash if allocation.environment else None,
        "model": model_fingerprint(Path(spec.model).expanduser()) if spec.model else None,
        "parameters": parameters,
        "rules": [rule.model_dump(mode="json") for rule in request_rules(gateway.rules)],
        "sampling_in_full": gateway.sampling_in_full,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _packages_off(recipe: Recipe | None, environment: Environment | None) -> dict[str, str | None]:
    """Of the packages that the recipe pins for every machine."""
    if recipe is None or recipe.requirements is None or environment is None:
        return {}
    found: dict[str, str | None] = {}
    for line in recipe.requirements.read_text().splitlines():
        pin = _PIN.match(line.strip())
        if pin is None or ";" in pin[3]:
            continue
        name = re.sub(r"[-_.]+", "-", pin[1]).lower()
        installed = environment.packages.get(name)
        if installed is None or installed.split("+")[0] != pin[2].split("+")[0]:
            found[name] = installed
    return found


def _template_hash(serve: ServeSpec, model: Path | None) -> str | None:
    """Where a model has its template in the tokenizer's configuration, of that text alone."""
    if serve.chat_template:
        return _hash_of([Path(serve.chat_template).expanduser()])
    if model is None:
        return None
    if (own := _hash_of([model / "chat_template.jinja"])) is not None:
        return own
    text = _json(model / "tokenizer_config.json").get("chat_template")
    return hashlib.sha256(json.dumps(text).encode()).hexdigest() if text else None


def _sampling(job: JobSpec, allocation: Allocation, model: Path | None) -> SamplingIdentity:
    added: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    if job.gateway.sampling_in_full:
        added = allocation.engine.sampling_defaults, allocation.engine.greedy_defaults
    return SamplingIdentity(
        requested=[one.generation.model_dump(mode="json", exclude_none=True) for one in job.evaluate],
        always=dict(added[0]),
        greedy=dict(added[1]),
        model=_json(model / "generation_config.json") if model else {},
    )


def _hash_of(files: Iterable[Path]) -> str | None:
    """Over names and contents of those that are there; None when none is."""
    digest, any_there = hashlib.sha256(), False
    for path in files:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
            any_there = True
    return digest.hexdigest() if any_there else None


def _json(path: Path) -> dict[str, Any]:
    """A model's small file; nothing where there is none, or something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
