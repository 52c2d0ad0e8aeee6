"""`concurrency: auto` on a fake engine whose best number in flight is known."""

from __future__ import annotations

import pytest

from benchmarks.concurrency import fake_engine, measure
from clients.limiter import Limiter

pytestmark = pytest.mark.slow

SLOTS = 8


@pytest.mark.parametrize("start", [2, 64])
async def test_the_limit_that_is_found_is_as_fast_as_the_best_fixed_number(start: int) -> None:
    async with fake_engine(SLOTS, 0.1) as port:
        fixed = await measure(port, Limiter(SLOTS, most=SLOTS, least=SLOTS), 128, 4, gauges=False)
    async with fake_engine(SLOTS, 0.1) as port:
        found = await measure(port, Limiter(start), 128, 8, gauges=True)
    print(f"fixed {SLOTS}: {fixed.rate:.1f}/s; auto from {start}: {found.rate:.1f}/s, {found.history}")
    assert found.rate >= 0.9 * fixed.rate
    assert SLOTS <= found.limit <= 2 * SLOTS
