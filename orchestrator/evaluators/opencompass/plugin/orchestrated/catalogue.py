"""`catalogue.py FOLDER...`: every data set config below the folders, resolved, as one JSON object per line.

Run by OpenCompass's interpreter: only mmengine can tell which data sets a config with loops ends up with. It imports
no class that a config names, so a config takes milliseconds.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from mmengine.config import Config

_SCORER = re.compile(r"(?<=\.)\w*[Ee]valuator\w*(?=')")  # at the end of a dotted name


def main(*folders: str) -> None:
    """Write the lines to standard output."""
    files = [(folder, str(file)) for folder in folders for file in sorted(Path(folder).rglob("*.py"))]
    with Pool(2) as pool:
        for row in pool.imap(_row, [file for file in files if not file[1].endswith("__init__.py")], chunksize=16):
            print(json.dumps(row))


def _row(place: tuple[str, str]) -> dict[str, Any]:
    folder, file = place
    name = Path(file).relative_to(folder).with_suffix("").as_posix()
    try:
        config = Config.fromfile(file, format_python_code=False).to_dict()
    except Exception as error:  # noqa: BLE001 - a config runs any code, and one that cannot be read must not end the list
        return {"name": name, "file": file, "datasets": [], "error": f"{type(error).__name__}: {error}"[:300]}
    return {"name": name, "file": file, "datasets": list(_datasets(config)), "error": None}


def _datasets(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for variable, value in config.items():
        if variable.endswith("_datasets") and isinstance(value, list):
            yield from (_dataset(variable, entry) for entry in value if isinstance(entry, dict))


def _dataset(variable: str, entry: dict[str, Any]) -> dict[str, Any]:
    reader, inferencer = entry.get("reader_cfg"), _at(entry.get("infer_cfg"), "inferencer")
    repeats, rows = entry.get("n", 1), _at(reader, "test_range")
    return {
        "variable": variable,
        "abbr": str(entry.get("abbr") or entry.get("path")),
        "type": _class(entry.get("type")),
        "path": entry.get("path") if isinstance(entry.get("path"), str) else None,
        "subset": entry.get("name") if isinstance(entry.get("name"), str) else None,
        "split": str(_at(reader, "test_split") or "test"),
        "range": rows if isinstance(rows, str) else None,
        "repeats": repeats if isinstance(repeats, int) else 1,
        "inferencer": _class(_at(inferencer, "type")),
        "evaluator": _class(_at(_at(entry.get("eval_cfg"), "evaluator"), "type")),
        "scorers": sorted(set(_SCORER.findall(repr(entry.get("eval_cfg"))))),
    }


def _at(value: Any, key: str) -> Any:
    """What stands at `key`; None where there is no such place."""
    return value.get(key) if isinstance(value, dict) else None


def _class(value: Any) -> str:
    return str(value or "").rsplit(".", 1)[-1]


if __name__ == "__main__":
    main(*sys.argv[1:])
