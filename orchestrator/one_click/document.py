"""The job spec that the items of one model add up to, as a document in the words of `orchestrator run SPEC`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.one_click.folder import folder_at
from orchestrator.one_click.items import Argument, Item, Part, Set, Stop
from orchestrator.one_click.reading import WholeConfig


def document(
    abbr: str, items: Iterable[Item], config: WholeConfig, engine: str, limit: int | None, serve: Mapping[str, Any]
) -> dict[str, Any]:
    """`serve` wins over what the items say."""
    found = list(items)
    stops = list(dict.fromkeys(word for item in found if isinstance(item, Stop) for word in item.words))
    evaluate = {
        "evaluator": "opencompass",
        "datasets": [str(config.placed.file)],
        **({"limit": limit} if limit is not None else {}),
        "generation": {**_values(found, "generation"), **({"stop": stops} if stops else {})},
        "opencompass": _values(found, "opencompass"),
    }
    served = _served(found, engine, serve)
    rules = _rules(found, stops)
    return {
        "name": f"{abbr} on {engine}"[:200],
        "serve": served,
        **_compressed(found, str(served["model"]), config.file.parent),
        **({"gateway": {"rules": rules}} if rules else {}),
        "evaluate": [evaluate],
        "labels": {"config": config.file.name, "model": abbr},
    }


def _served(items: list[Item], engine: str, serve: Mapping[str, Any]) -> dict[str, Any]:
    words = [word for item in items if isinstance(item, Argument) for word in item.words]
    arguments = [*words, *serve.get("extra_args", [])]
    merged = {"engine": engine, **_values(items, "serve"), **serve}
    return {**merged, **({"extra_args": arguments} if arguments else {})}


def _compressed(items: list[Item], model: str, base: Path) -> dict[str, Any]:
    """llama.cpp serves one GGUF file: made of the model's folder first."""
    wanted = _values(items, "compress")
    folder = folder_at(model, base)
    if not wanted or model.endswith(".gguf") or (folder and any(folder.glob("*.gguf"))):
        return {}
    return {"compress": {"tool": "gguf", **wanted}}


def _rules(items: list[Item], stops: list[str]) -> list[dict[str, Any]]:
    """Stop words as Hugging Face's classes apply them: whatever the engine does with them, no answer goes past one."""
    parameters = _values(items, "parameters")
    return [
        *([{"rule": "set_parameters", "values": parameters}] if parameters else []),
        *([{"rule": "stop_strings"}] if stops else []),
    ]


def _values(items: list[Item], part: Part) -> dict[str, Any]:
    return {item.field: item.value for item in items if isinstance(item, Set) and item.part == part}
