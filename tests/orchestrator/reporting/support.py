"""A real job on the fake engine whose answers are everything that a report must survive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.orchestrator.support import Cli

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)></pre></details>\"'>${7*7}{{ 7*7 }}{% raw %}"
ANSWERS = {
    "How many rings?": "It is 4\n#### 4",
    "How many bolts?": f"{HOSTILE} 5\n#### 5",
    "How many jars?": "<think>It may be 9.</think> It is 6\n#### 6",
    "How many nails?": f"{'one and another ' * 200}\n#### 7",
    f"How many {HOSTILE}?": "It is 8\n#### 8",
    "How many figs?": "It is 9\n#### 9",
}
"""Right, hostile, thinking aloud, longer than `max_tokens`, asked in a hostile way."""
ENGINE = ["{python}", "-m", "orchestrator.fake_engine", "--port", "{port}", "--answers"]


def hostile_job(cli: Cli, folder: Path, *engine: str, **changes: Any) -> dict[str, Any]:
    """The record of a job that asked all of `ANSWERS`, of a fake engine with these arguments."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": one, "answer": two}) + "\n" for one, two in ANSWERS.items()))
    document = {
        "name": f"job {HOSTILE}",
        "serve": {
            "engine": "custom",
            "model": "fake",
            "command": [*ENGINE, str(rows), *engine],
        },
        "evaluate": [{"evaluator": "straight", "datasets": [str(rows)], "concurrency": 2}],
        "probe": {"fidelity": {"enabled": False}},
        "labels": {"kind": HOSTILE},
        **changes,
    }
    spec = folder / "hostile.yaml"
    spec.write_text(yaml.safe_dump(document))
    _, record = cli.job(spec)
    return record
