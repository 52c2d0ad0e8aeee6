"""Which GPUs are given out of those that are free."""

from __future__ import annotations

import pytest

from orchestrator.scheduling import Running, decide
from tests.orchestrator.scheduling.support import job, node


def placed(count: int, free: list[int], inventory: int = 16) -> tuple[int, ...]:
    """The GPUs that a job of so many gets where only these are free."""
    busy = tuple(gpu for gpu in range(inventory) if gpu not in free)
    return decide(node(inventory, job(1, count), running=[Running("a", busy, "x")])).starts[0].gpus


@pytest.mark.parametrize(
    ("count", "free", "expected"),
    [
        (1, [0, 1, 2, 3, 5], (5,)),  # a whole pair stays whole
        (1, [0, 1, 2, 3, 4, 5], (4,)),  # a whole four stays whole
        (2, [1, 2, 4, 5], (4, 5)),  # a pair, not two neighbours of different pairs
        (2, [0, 1, 2, 3, 8, 9], (8, 9)),
        (4, [2, 3, 4, 5, 6, 7], (4, 5, 6, 7)),  # one half of a board
        (4, [0, 2, 4, 6, 8, 9, 10, 12], (0, 2, 4, 6)),  # one board, and the pair stays whole
        (4, [5, 6, 7, 8, 9, 10, 12], (8, 9, 10, 12)),  # one board, not two
        (8, [*range(2, 16)], (8, 9, 10, 11, 12, 13, 14, 15)),  # a whole board
        (12, [*range(16)], (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)),  # boards, then half a one
    ],
)
def test_a_job_gets_near_gpus_and_leaves_groups_whole(count: int, free: list[int], expected: tuple[int, ...]) -> None:
    assert placed(count, free) == expected


def test_a_thousand_gpus_are_given_to_a_thousand_jobs() -> None:
    starts = decide(node(1000, *(job(order) for order in range(1200)))).starts
    assert sorted(start.gpus for start in starts) == [(gpu,) for gpu in range(1000)]
