"""Write an llmc config with our model and our place to save: `python llmc_config.py CONFIG OUTPUT MODEL SAVE_PATH`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml


def main() -> None:
    """Read, replace, write."""
    config, output, model, save_path = sys.argv[1:]
    document = yaml.safe_load(Path(config).read_text())
    document["model"] = {**document["model"], "path": model}
    document["save"] = {**document["save"], "save_path": save_path}
    Path(output).write_text(yaml.safe_dump(document, sort_keys=False))


if __name__ == "__main__":
    main()
