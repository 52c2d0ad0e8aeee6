"""Which GPUs out of a pool: near to each other, and so that large aligned groups stay whole for large jobs."""

from __future__ import annotations

from functools import cache
from itertools import combinations

from orchestrator.scheduling.gpu_sets import gpu_set, members

BOARD = 8
"""GPUs of one board or machine; an aligned pair or four of it commonly shares a switch and a processor socket."""


def place(pool: int, count: int) -> int:
    """`count` GPUs of `pool`, which has as many.

    On one board where one has room: the smallest aligned group first, then what breaks the fewest groups that are
    free as a whole, then the fullest board, then the lowest index. Else whole boards, the freest first.
    """
    boards = bytearray(pool.to_bytes(pool.bit_length() // BOARD + 1, "little"))
    chosen = 0
    while count:
        kinds = [kind for kind in sorted(set(boards)) if kind.bit_count() >= count]
        if kinds:
            kind = min(kinds, key=lambda kind: _best(kind, count))
            taken = _best(kind, count)[-1]
        else:
            kind = taken = max(sorted(set(boards)), key=int.bit_count)
        board = boards.index(kind)
        boards[board] ^= taken
        chosen |= taken << board * BOARD
        count -= taken.bit_count()
    return chosen


@cache
def _best(board: int, count: int) -> tuple[int, int, int, int]:
    """Cost of the best choice on a board with these GPUs free, and the choice: its span, groups broken, GPUs left."""
    before, left = _whole_groups(board), board.bit_count() - count
    choices = [gpu_set(choice) for choice in combinations(members(board), count)]
    return min((_span(choice), before - _whole_groups(board ^ choice), left, choice) for choice in choices)


def _span(choice: int) -> int:
    """Size of the smallest aligned group around a choice, as a power of two."""
    lowest, highest = (choice & -choice).bit_length() - 1, choice.bit_length() - 1
    return (lowest ^ highest).bit_length()


def _whole_groups(board: int) -> int:
    """Aligned pairs, fours and eights that are free as a whole."""
    sizes = (2, 4, 8)
    groups = [((1 << size) - 1) << start for size in sizes for start in range(0, BOARD, size)]
    return sum(board & group == group for group in groups)
