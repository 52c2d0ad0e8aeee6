"""Sets of GPUs as integers, GPU n being bit n: a thousand of them are intersected in one step."""

from __future__ import annotations

from collections.abc import Iterable


def gpu_set(gpus: Iterable[int]) -> int:
    """The set of these indices. Raises: ValueError for a negative one."""
    found = 0
    for gpu in gpus:
        found |= 1 << gpu
    return found


def members(gpus: int) -> tuple[int, ...]:
    """The indices in a set, ascending."""
    found = []
    while gpus:
        lowest = gpus & -gpus
        found.append(lowest.bit_length() - 1)
        gpus ^= lowest
    return tuple(found)
