"""Data that a data set needs: where it has to be, whether it is here, and how to get it; nothing is started."""

from __future__ import annotations

import ast
import os
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orchestrator.evaluators.opencompass.classes import code_of
from orchestrator.evaluators.opencompass.parsing import parsed

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_UNPACK = {".zip": "unzip -o", ".tar.gz": "tar xzf", ".tgz": "tar xzf", ".tar": "tar xf"}


@dataclass(frozen=True, slots=True)
class Data:
    """What is known of the data behind one `path` of a data set."""

    path: str
    """As the config says it."""
    state: Literal["here", "absent", "unknown"]
    """`unknown`: the data set's class completes the path, so that only loading it tells."""
    place: Path | None
    """Where it is, or has to be."""
    steps: str = ""
    """What to do where it is absent: commands, or one sentence."""


def data_of(kind: str, path: str, package: Path | None) -> Data:
    """The data of a data set of class `kind` with this `path`; `package` is the installed `opencompass`.

    As OpenCompass looks for it offline. It would download what is absent; a job that holds GPUs should not.
    """
    if Path(path).is_absolute():
        return _at(path, [Path(path)], f"put it at {path}")
    if os.environ.get("DATASET_SOURCE") in ("HF", "ModelScope") or package is None:
        return Data(path, "unknown", None)
    local = _tables(package).get("DATASETS_MAPPING", {}).get(path, {}).get("local")
    if local or path.startswith(("./", "../", "data/")):
        return _local(path, local or path, package)
    if kind and (code := code_of(kind, package)) is not None:
        if b"get_data_path" in code:
            return _local(path, path, package)
        if b"load_dataset(" in code and _HUB_ID.fullmatch(path):
            return _hub(path)
    return Data(path, "unknown", None)


def places() -> list[Path]:
    """Where OpenCompass looks for `data/`, in its order."""
    given = os.environ.get("COMPASS_DATA_CACHE")
    return [*([Path(given)] if given else []), Path("~/.cache/opencompass").expanduser()]


def _local(path: str, local: str, package: Path) -> Data:
    return _at(
        path, [place / local for place in places()], _how_to_get(local, _tables(package).get("DATASETS_URL", {}))
    )


def _at(path: str, wanted: list[Path], steps: str) -> Data:
    found = next((place for place in wanted if place.exists()), None)
    return Data(path, "here", found) if found else Data(path, "absent", wanted[0], steps)


def _how_to_get(local: str, urls: dict[str, Any]) -> str:
    place = places()[0]
    sources = [entry["url"] for key, entry in urls.items() if key in local and entry.get("url")]
    if not sources:
        return f"put it at {place / local} (or set COMPASS_DATA_CACHE to the folder that holds `data/`)"
    url, folder = sources[-1], shlex.quote(str(place / "data"))
    name = url.rsplit("/", 1)[-1]
    unpack = next((command for suffix, command in _UNPACK.items() if name.endswith(suffix)), "unpack")
    return f"mkdir -p {folder} && cd {folder} && curl -LO {url} && {unpack} {name}"


def _hub(path: str) -> Data:
    """A data set of the Hugging Face hub, from its cache; what is in there is not looked at."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / f"datasets--{path.replace('/', '--')}"
    prepared = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")) / path.replace("/", "___")
    return _at(path, [hub, prepared], f"with a network: hf download --repo-type dataset {path}")


@cache
def _tables(package: Path) -> dict[str, dict[str, Any]]:
    """The literal tables of `opencompass/utils/datasets_info.py`; empty when they cannot be read."""
    try:
        tree = parsed((package / "utils" / "datasets_info.py").read_bytes())
        return {
            ast.unparse(node.targets[0]): ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
        }
    except (OSError, SyntaxError, ValueError):
        return {}
