"""Data sets of the user's own without a config: a jsonl or csv file with `question`, `answer` and perhaps options.

OpenCompass makes the config itself: multiple choice where there are columns `A`, `B`, ..., else questions with one
right answer. What it should know beyond that stands in a file beside, `NAME.jsonl.meta.json`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

SUFFIXES = (".jsonl", ".csv")
_KINDS = {
    ("mcq", "gen"): "multiple choice, generated",
    ("mcq", "ppl"): "multiple choice, by perplexity",
    ("qa", "gen"): "question and answer, generated",
    ("circular-mcq", "gen"): "multiple choice in every order of the options, generated",
    ("circular-mcq", "ppl"): "multiple choice in every order of the options, by perplexity",
}


@dataclass(frozen=True, slots=True)
class CustomData:
    """One jsonl or csv file as OpenCompass will read it."""

    file: Path
    abbr: str
    data_type: str
    """`mcq`, `qa` or `circular-mcq`."""
    infer_method: str
    """`gen` or `ppl`."""
    test_range: str
    """Which rows, as a slice; empty: all."""
    wrong: tuple[str, ...]
    """Why it cannot be evaluated, as ends of sentences that begin with its name."""

    def entry(self, limit: int | None) -> dict[str, str]:
        """What stands for it in a config; OpenCompass fills in the rest."""
        rows = self.test_range + (f"[0:{limit}]" if limit is not None else "")
        given = {"path": str(self.file), "abbr": self.abbr, "data_type": self.data_type}
        return {**given, "infer_method": self.infer_method, **({"test_range": rows} if rows else {})}


def read_custom(file: Path) -> CustomData:
    """What the file and its meta file say.

    Raises: OSError, ValueError when they cannot be read.
    """
    columns = _columns(file)
    meta = _meta(file)
    options = [letter for letter in ascii_uppercase if letter in columns]
    data_type = str(meta.get("data_type", "mcq" if len(options) > 1 else "qa"))
    infer_method = str(meta.get("infer_method", "gen"))
    wrong = tuple(_wrong(columns, options, data_type, infer_method, meta))
    abbr = str(meta.get("abbr", file.name.split(".")[0]))
    return CustomData(file, abbr, data_type, infer_method, str(meta.get("test_range", "")), wrong)


def _wrong(
    columns: list[str], options: list[str], data_type: str, infer_method: str, meta: dict[str, Any]
) -> Iterator[str]:
    known = ", ".join(f"{data}/{method}" for data, method in _KINDS)
    if (data_type, infer_method) not in _KINDS:
        yield f"asks for {data_type}/{infer_method}; there are {known}"
    if columns and columns[0].startswith("\ufeff"):
        yield "starts with a byte order mark, at which OpenCompass stumbles: save it as plain UTF-8"
    if "question" not in columns and not {"human_prompt", "template"} & meta.keys():
        yield f"has no column `question` (it has {', '.join(columns)}), and its meta file gives no `human_prompt`"
    if (column := str(meta.get("output_column", "answer"))) not in columns:
        yield f"has no column `{column}` to score against"
    if data_type.endswith("mcq") and len(options) < 2 and "options" not in meta:
        yield "is multiple choice without columns `A`, `B`, ... for the options"


def _columns(file: Path) -> list[str]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".csv":
            columns = next(csv.reader(lines), [])
        else:
            row = json.loads(lines.readline() or "{}")
            columns = list(row) if isinstance(row, dict) else []
    if not columns:
        raise ValueError("its first line names no columns")
    return columns


def _meta(file: Path) -> dict[str, Any]:
    beside = file.with_name(f"{file.name}.meta.json")
    meta = json.loads(beside.read_bytes()) if beside.is_file() else {}
    if not isinstance(meta, dict):
        raise ValueError(f"{beside.name} is not an object")
    return meta
