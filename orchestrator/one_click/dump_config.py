"""`dump_config.py FILE`: what a whole OpenCompass config says, resolved, as one JSON object on standard output.

Run by OpenCompass's interpreter: only mmengine can tell what a config with `read_base` ends up with. It imports no
class that the config names, so it takes two seconds; classes and functions come out as their dotted names.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mmengine.config import Config


def main(file: str) -> None:
    """Write the object to standard output."""
    config = Config.fromfile(file, format_python_code=False).to_dict()
    datasets = [entry for entry in config.get("datasets") or [] if isinstance(entry, dict)]
    dumped = {
        "names": sorted(config),
        "models": config.get("models") or [],
        "datasets": [_dataset(entry) for entry in datasets],
    }
    print(json.dumps(dumped, default=str))


def _dataset(entry: dict[str, Any]) -> dict[str, Any]:
    inferencer = (entry.get("infer_cfg") or {}).get("inferencer") or {}
    asked = inferencer.get("max_out_len")
    return {
        "abbr": str(entry.get("abbr") or entry.get("path")),
        "max_out_len": asked if isinstance(asked, int) else None,
        "stopping_criteria": [str(word) for word in inferencer.get("stopping_criteria") or []],
    }


if __name__ == "__main__":
    main(sys.argv[1])
