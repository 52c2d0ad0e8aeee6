"""How far a run is, from the status files that OpenCompass's concurrent task keeps."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from orchestrator.evaluators.base import Done
from orchestrator.evaluators.opencompass.resolved import read_resolved


def read_progress(out: Path) -> Done:
    """Answers so far and wanted, over all data sets of the run under `out`.

    The total is None until every data set has been counted; a data set is counted when its turn comes.
    """
    states = [read_status(file) for file in out.glob("*/infer_status/**/*.json")]
    totals = [state.get("total") for state in states]
    known = [total for total in totals if isinstance(total, int)]
    done = sum(int(state.get("completed") or 0) for state in states)
    ended = bool(states) and all(state.get("status") in ("done", "fail") for state in states)
    over = ended and len(states) == _datasets(out)
    return Done(done, sum(known) if states and len(known) == len(totals) else None, over)


def _datasets(out: Path) -> int | None:
    """Data sets of the run; None when that cannot be told."""
    for config in sorted(out.glob("*/configs/*.py")):
        with contextlib.suppress(OSError, SyntaxError, KeyError):
            return len(read_resolved(config)["datasets"])
    return None


def read_status(file: Path) -> dict[str, Any]:
    """One status file; empty when it is absent or half written (OpenCompass writes it in place)."""
    try:
        state = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
