"""What a reservation lends, against its definition tried out in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduling.holders import UNKNOWN, Holder
from orchestrator.scheduling.reservation import reserve_any, reserve_these

NOW = 100.0
ENDS = st.one_of(st.just(UNKNOWN), st.integers(101, 106).map(float))
SIZES = st.lists(st.tuples(st.integers(1, 4), ENDS), min_size=1, max_size=6)
thorough = settings(max_examples=200, deadline=None, derandomize=True)


def holders_of(sizes: Sequence[tuple[int, float]]) -> list[Holder]:
    """Holders of so many GPUs each, until then, side by side."""
    found, first = [], 0
    for number, (size, end) in enumerate(sizes):
        found.append(Holder(f"h{number}", ((1 << size) - 1) << first, end))
        first += size
    return found


@thorough
@given(SIZES, st.integers(0, 4), st.data())
def test_gpus_are_lent_exactly_where_the_head_starts_no_later_whatever_comes_back_first(
    sizes: list[tuple[int, float]], free: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(free + 1, free + sum(size for size, _ in sizes)))
    asked, end = data.draw(st.integers(1, 5)), data.draw(ENDS)
    lends = reserve_any(count, free, holders_of(sizes), NOW).until(end).room >= asked
    assert lends == all(
        free + back - (asked if moment < end else 0) >= count
        for moment, back in everything_that_may_have_come_back(sizes)
        if free + back >= count and not surely_started_before(moment, count - free, sizes)
    )


def everything_that_may_have_come_back(sizes: Sequence[tuple[int, float]]) -> Iterator[tuple[float, int]]:
    """Moments, and numbers of GPUs: what was expected by then and any of the rest that nobody knows the end of."""
    unknown = [size for size, end in sizes if end == UNKNOWN]
    for moment in {NOW, *(end for _, end in sizes if end != UNKNOWN)}:
        known = sum(size for size, end in sizes if end <= moment)
        for number in range(len(unknown) + 1):
            yield from ((moment, known + sum(some)) for some in combinations(unknown, number))


def surely_started_before(moment: float, missing: int, sizes: Sequence[tuple[int, float]]) -> bool:
    return sum(size for size, end in sizes if end < moment) >= missing


@thorough
@given(SIZES, st.integers(0, 4), st.data())
def test_what_is_left_after_lending_is_what_a_new_reservation_beside_that_job_lends(
    sizes: list[tuple[int, float]], free: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(free + 1, free + sum(size for size, _ in sizes)))
    reservation = reserve_any(count, free, holders_of(sizes), NOW)
    asked, end = data.draw(st.integers(1, 4)), data.draw(ENDS)
    if asked > min(free, reservation.until(end).room):
        return
    lent, anew = (
        reservation.lend(asked, end),
        reserve_any(count, free - asked, holders_of([*sizes, (asked, end)]), NOW),
    )
    for until in (101.0, 102.0, 103.0, 104.0, 105.0, 106.0, UNKNOWN):
        assert min(lent.until(until).room, free) <= min(anew.until(until).room, free)
    assert anew.start <= reservation.start


@thorough
@given(SIZES, st.integers(0, 4), st.booleans(), st.data())
def test_the_latest_end_of_a_job_is_the_last_at_which_the_reservation_leaves_it_its_gpus(
    sizes: list[tuple[int, float]], free: int, explicit: bool, data: st.DataObject
) -> None:
    holders = holders_of(sizes)
    count, asked, end = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 5)), data.draw(ENDS)
    wanted = data.draw(st.integers(1, 2**12 - 1))
    reservation = reserve_these(wanted, holders, NOW) if explicit else reserve_any(count, free, holders, NOW)
    pool = ((1 << free) - 1) << 8  # some of them wanted, some not
    step = reservation.until(end)
    leaves = asked <= max(step.room, 0) and asked <= (pool & ~step.kept).bit_count()
    assert (end <= reservation.latest_end(asked, pool)) == leaves


def test_gpus_asked_for_by_index_are_lent_until_the_last_known_end_among_them() -> None:
    holders = [Holder("a", 0b0001, 160.0), Holder("b", 0b0010, 130.0), Holder("c", 0b1000, 900.0)]
    reservation = reserve_these(0b0111, holders, NOW)
    assert reservation.until(160.0).kept == 0
    assert reservation.until(161.0).kept == 0b0111
    assert reservation.start == 160.0
