"""Jobs and deployments that end at once, in place of drawn ones that no machine could run: links need them."""

from __future__ import annotations

from pathlib import Path

import schemathesis

ROWS = Path(__file__).parents[3] / "eval_configs" / "data" / "demo_arithmetic" / "test.jsonl"
JOB = {
    "serve": {"engine": "custom", "model": "fake", "command": ["false", "{port}"]},
    "evaluate": [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": 1}],
}


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    if case.meta and case.meta.generation.mode.is_negative:
        return case
    if (case.method.upper(), case.path) == ("POST", "/jobs") and isinstance(case.body, dict):
        case.body = {**JOB, "priority": case.body.get("priority", 0)}
        case.media_type = "application/json"
    if (case.method.upper(), case.path) == ("POST", "/deployments") and isinstance(case.body, dict):
        case.body = {"serve": JOB["serve"]}
        case.media_type = "application/json"
    if case.path in ("/jobs/{job}/events", "/jobs/{job}/logs/{name}"):
        case.query = {**(case.query or {}), "follow": "false"}  # else the answer takes as long as the job waits
    return case
