"""Data that a data set needs and that is not on this machine, told before anything is started."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def missing_data(paths: Iterable[str], package: Path) -> str | None:
    """What is absent and how to get it, or None.

    Only paths that are ids of OpenCompass's own table are judged: every other one may be a hub id or a path that
    its data set class completes. OpenCompass would download what is absent; a job that holds GPUs should not.
    """
    wanted = list(paths) if os.environ.get("DATASET_SOURCE") not in ("HF", "ModelScope") else []
    tables = _tables(package) if wanted else {}
    for path in wanted:
        local = tables.get("DATASETS_MAPPING", {}).get(path, {}).get("local")
        if local and not any((place / local).exists() for place in _places()):
            return _how_to_get(local, tables.get("DATASETS_URL", {}))
    return None


def _places() -> list[Path]:
    """Where OpenCompass looks, in its order."""
    given = os.environ.get("COMPASS_DATA_CACHE")
    return [*([Path(given)] if given else []), Path("~/.cache/opencompass").expanduser()]


def _how_to_get(local: str, urls: dict[str, Any]) -> str:
    place = _places()[0]
    sources = [entry["url"] for key, entry in urls.items() if key in local and entry.get("url")]
    archive = f"unpack {sources[-1]} into {place / 'data'}" if sources else f"put it at {place / local}"
    return f"{place / local} is absent; {archive} (or set COMPASS_DATA_CACHE to the folder that holds `data/`)"


def _tables(package: Path) -> dict[str, dict[str, Any]]:
    """The literal tables of `opencompass/utils/datasets_info.py`; empty when they cannot be read."""
    try:
        tree = ast.parse((package / "utils" / "datasets_info.py").read_bytes())
        return {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
    except (OSError, SyntaxError, ValueError):
        return {}
