"""The process of the evaluator `straight`: stdlib only, run in its own environment."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BASE, MODEL, CONCURRENCY = sys.argv[1], sys.argv[2], int(sys.argv[3])


def ask(row: dict[str, str]) -> str:
    wait_for(row.get("asked_after"))
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": row["question"]}],
        "temperature": 0,
        "max_tokens": 128,
    }
    request = urllib.request.Request(
        f"{BASE}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-orchestrator-on-failure": "mark"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def wait_for(gate: str | None) -> None:
    """Until the file is there: a test holds the evaluation there for as long as it wants to."""
    while gate and not Path(gate).exists():
        time.sleep(0.02)


def main() -> None:
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    print(f"asking {len(rows)} questions, {CONCURRENCY} at a time", flush=True)
    with ThreadPoolExecutor(CONCURRENCY) as pool, Path("answers.jsonl").open("w") as answers:
        for index, text in enumerate(pool.map(ask, rows)):
            answers.write(json.dumps({"index": index, "text": text}) + "\n")
            answers.flush()
    for row in rows:
        wait_for(row.get("scored_after"))


if __name__ == "__main__":
    main()
