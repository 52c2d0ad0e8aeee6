"""Results and samples as tables for other tools: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.record import JobRecord
from orchestrator.reporting.extras import extra
from orchestrator.results import Sample

_RESULT = ("evaluator", "dataset", "metric", "score", "low", "high", "asked", "answered", "failed", "coverage")
_SERVED = ("engine", "version", "torch", "requirements", "model", "model_hash", "tokenizer_hash", "template_hash")
COLUMNS = (
    *("job", "name", "state", "created_at"),
    *_RESULT,
    *("prompt_version", "notes", "fingerprint"),
    *_SERVED,
    *("gpus", "driver", "argv", "env", "packages_off", "sampling"),
)


def results_csv(record: JobRecord) -> str:
    """One row per score, each with what served; only the head where there is no score."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(record):
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return text.getvalue()


def write_samples_parquet(samples: Sequence[Sample], record: JobRecord, path: Path) -> None:
    """One row per sample; job, fingerprint and results stand in the file's own metadata, under `orchestrator`.

    Raises: OrchestratorError when pyarrow is not installed; OSError.
    """
    pyarrow, parquet = extra("pyarrow", name="parquet"), extra("pyarrow.parquet", name="parquet")
    text, whole, yes = pyarrow.string(), pyarrow.int64(), pyarrow.bool_()
    kinds = {"index": whole, "correct": yes, "cut": yes, "value": pyarrow.float64()}
    about = record.model_dump_json(include={"id", "name", "state", "fingerprint", "results"})
    schema = pyarrow.schema(
        [(name, kinds.get(name, text)) for name in Sample.model_fields], metadata={"orchestrator": about}
    )
    rows = [sample.model_dump() for sample in samples]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def _rows(record: JobRecord) -> list[dict[str, Any]]:
    job = {"job": record.id, "name": record.name, "state": record.state.value, "created_at": record.created_at}
    served = _served(record)
    rows = []
    for result in record.results:
        low, high = result.interval or (None, None)
        values = {**result.model_dump(exclude={"interval", "notes", "failed_by_cause"}), "low": low, "high": high}
        rows.append({**job, **values, "notes": "; ".join(result.notes), **served})
    return rows


def _served(record: JobRecord) -> dict[str, Any]:
    identity = record.fingerprint
    if identity is None:
        return {}
    structured = identity.model_dump(mode="json", include={"gpus", "argv", "env", "packages_off", "sampling"})
    return {
        "fingerprint": identity.digest,
        **{name: getattr(identity, name) for name in _SERVED},
        "driver": identity.driver,
        **{name: json.dumps(value) for name, value in structured.items()},
    }


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
