"""How far a run is, from the status files that OpenCompass's concurrent task keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.evaluators.base import Done


def read_progress(out: Path) -> Done:
    """Answers so far and wanted, over all data sets of the run under `out`.

    The total is None until every data set has been counted; a data set is counted when its turn comes.
    """
    states = [read_status(file) for file in out.glob("*/infer_status/**/*.json")]
    totals = [state.get("total") for state in states]
    known = [total for total in totals if isinstance(total, int)]
    done = sum(int(state.get("completed") or 0) for state in states)
    return Done(done, sum(known) if states and len(known) == len(totals) else None)


def read_status(file: Path) -> dict[str, Any]:
    """One status file; empty when it is absent or half written (OpenCompass writes it in place)."""
    try:
        state = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
