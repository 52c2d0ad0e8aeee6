"""The gateway tells when it, not the engine, was the limit."""

from __future__ import annotations

import asyncio
import time

from clients.honesty import Honesty


async def test_a_process_with_little_to_do_is_no_limit() -> None:
    honesty = Honesty()
    async with honesty.watching():
        await asyncio.sleep(1.3)
    seen = honesty.snapshot()
    assert seen["samples"] == 1
    assert seen["cpu"] < 0.5
    assert seen["lag_p50"] < 0.05


async def test_an_event_loop_that_is_held_up_is_told() -> None:
    honesty = Honesty()
    async with honesty.watching():
        for _ in range(5):
            await asyncio.sleep(0.02)
            time.sleep(0.3)  # noqa: ASYNC251 - what is measured
    assert honesty.snapshot()["lag_max"] >= 0.2
    assert honesty.client_limited


async def test_moments_without_requests_do_not_count() -> None:
    honesty = Honesty(lambda: False)
    async with honesty.watching():
        for _ in range(5):
            await asyncio.sleep(0.02)
            time.sleep(0.3)  # noqa: ASYNC251 - as loading a library is
    assert (honesty.snapshot()["lag_max"], honesty.snapshot()["samples"]) == (0.0, 0)
    assert not honesty.client_limited


async def test_a_process_that_computes_all_the_time_is_told() -> None:
    honesty = Honesty()
    async with honesty.watching():
        began, cpu = time.monotonic(), time.process_time()
        while honesty.snapshot()["samples"] < 2:  # noqa: ASYNC110 - to be busy is the point
            await asyncio.sleep(0)
        share = (time.process_time() - cpu) / (time.monotonic() - began)
    assert honesty.snapshot()["cpu"] > 0.7 * share > 0
