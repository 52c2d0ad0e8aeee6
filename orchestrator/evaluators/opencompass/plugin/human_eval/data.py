"""The files of HumanEval: problems and samples as JSON lines."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HUMAN_EVAL = os.environ.get("HUMAN_EVAL_PROBLEMS", "")
"""Files with the problems, separated as in PATH."""


def read_problems(files: str = HUMAN_EVAL) -> dict[str, dict[str, Any]]:
    """Every problem by its `task_id`."""
    return {row["task_id"]: row for file in files.split(os.pathsep) if file for row in stream_jsonl(file)}


def stream_jsonl(filename: str) -> list[dict[str, Any]]:
    """Every row of a file, which may be packed by gzip."""
    data = Path(filename).read_bytes()
    text = (gzip.decompress(data) if filename.endswith(".gz") else data).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def write_jsonl(filename: str, data: Iterable[dict[str, Any]], append: bool = False) -> None:
    """Write or append rows."""
    with Path(filename).open("a" if append else "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in data)
