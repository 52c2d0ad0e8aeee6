"""What the rows of `requests.jsonl` say together: times, and why answers ended."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

CUT = "length"
"""The engine's word for an answer that it ended at `max_tokens`."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of one job; answers that came from a journal are not among the times."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from a replica being there to the end of the answer."""
    first_tokens: list[float] = field(default_factory=list)
    """Seconds from a replica being there to the first text, of streams."""
    finishes: Mapping[str, int] = field(default_factory=dict)
    """Answers by the engine's reason to end them, as far as it told."""
    cut: frozenset[str] = frozenset()
    """Keys of the requests whose answers were ended at `max_tokens`."""

    @property
    def cut_share(self) -> float | None:
        """Of the answers whose end is known; None when none is."""
        known = sum(self.finishes.values())
        return self.finishes.get(CUT, 0) / known if known else None


def read_traffic(requests: Path) -> Traffic:
    """Of the file of requests; a job that asked nothing has none."""
    latencies: list[float] = []
    first_tokens: list[float] = []
    finishes: Counter[str] = Counter()
    cut: set[str] = set()
    for row in _rows(requests):
        if row["cause"] is not None:
            continue
        if reason := row.get("finish_reason"):
            finishes[reason] += 1
        if reason == CUT:
            cut.add(row["key"])
        if row["replayed"]:
            continue
        latencies.append(max(0.0, row["total"] - row["queue_wait"]))
        if row["first_token"] is not None:
            first_tokens.append(max(0.0, row["first_token"] - row["queue_wait"]))
    return Traffic(latencies, first_tokens, dict(finishes), frozenset(cut))


def _rows(requests: Path) -> Iterator[dict[str, Any]]:
    if not requests.is_file():
        return
    with requests.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError):  # half written by a kill or a full disk
                yield orjson.loads(line)
