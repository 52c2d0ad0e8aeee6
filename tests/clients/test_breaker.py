"""When a replica gets no requests, and when it gets them again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clients.breaker import Breaker
from clients.errors import EngineUnresponsive, ProbeFailed
from clients.health import watch_breaker
from clients.replica import Replica
from tests.clients.scripted_engine import Asked, chat, engine, free_port, in_turn, raw, until
from tests.clients.serving import Serve

ERROR_500 = raw(500, b'{"error": {"message": "EngineCore encountered an issue"}}')


def tripped(**more: float) -> Breaker:
    breaker = Breaker(**{"pause": 0.05, **more})  # type: ignore[arg-type]
    for _ in range(5):
        breaker.failure("reset")
    assert breaker.state == "open"
    return breaker


def test_it_opens_after_five_failures_in_a_row_and_an_answer_between_them_starts_the_count_anew() -> None:
    breaker = Breaker()
    for cause in ("refused", "reset", "cut", "timeout"):
        breaker.failure(cause)
    breaker.success()
    for number in range(5):
        assert breaker.state == "closed"
        breaker.failure("http_500", f"request {number}")
    assert (breaker.state, breaker.trips, breaker.last_error) == ("open", 1, "http_500")


@pytest.mark.parametrize("cause", ["http_400", "http_404", "http_429", "http_501", "empty_answer"])
def test_what_is_no_fault_of_the_replica_opens_nothing(cause: str) -> None:
    breaker = Breaker()
    for number in range(50):
        breaker.failure(cause, f"request {number}")
    assert breaker.state == "closed"


def test_one_request_that_fails_every_time_opens_nothing() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failure("http_500", "the same request")
    assert breaker.state == "closed"


async def test_half_open_lets_as_many_try_as_answers_are_missing() -> None:
    breaker = tripped()
    assert not breaker.admits()
    await until(breaker.admits)
    assert breaker.begin()
    assert breaker.state == "half_open"
    assert breaker.admits()
    assert breaker.begin()
    assert not breaker.admits()
    breaker.success()
    breaker.success()
    assert breaker.state == "closed"


async def test_a_failed_trial_doubles_the_pause() -> None:
    breaker = tripped()
    await until(breaker.admits)
    breaker.begin()
    breaker.failure("reset")
    assert breaker.state == "open"
    assert 0.05 < breaker.opens_in() <= 0.1


async def test_a_replica_that_only_fails_is_left_out_while_another_is_ready(serve: Serve) -> None:
    async with engine(ERROR_500) as bad, engine(chat("hi")) as good, serve(bad.port, good.port) as served:
        answers = [await served.chat(seed=seed) for seed in range(40)]
        assert served.replicas[0].breaker.state == "open"
    assert {answer.status_code for answer in answers} == {200}
    assert len(bad.asked) == 5


async def test_requests_wait_for_the_only_replica_and_are_not_burned(serve: Serve) -> None:
    async with engine(in_turn(*[ERROR_500] * 20, chat("hi"))) as server, serve(server.port) as served:
        asking = [asyncio.create_task(served.chat(seed=seed)) for seed in range(20)]
        await until(lambda: served.pool.waiting == 20)
        assert len(server.asked) == 20, "none was sent a second time to the replica that fails"
        assert {(await one).status_code for one in asking} == {200}
    assert served.ledger.held.longest > 0.5, "the breaker's pause"


def scripted(*outcomes: bool) -> tuple[Callable[[], Awaitable[object]], list[bool]]:
    """Generations that come back or not, one after the other, the last outcome for ever."""
    left, told = list(outcomes), list[bool]()

    async def generation() -> object:
        told.append(left.pop(0) if len(left) > 1 else left[0])
        if not told[-1]:
            raise ProbeFailed("HTTP 500")
        return None

    return generation, told


async def test_a_guarded_breaker_is_closed_by_generations_and_no_request_is_risked() -> None:
    replica = Replica("r0", "127.0.0.1", free_port())
    replica.breaker = tripped(pause=0.0)
    generation, told = scripted(False, False, True)
    watching = asyncio.create_task(watch_breaker(replica, generation, pause=0.01, patience=10))
    await until(lambda: len(told) == 1)
    assert not replica.breaker.admits()
    await until(lambda: replica.breaker.state == "closed")
    assert told == [False, False, True, True]
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_replica_whose_generations_only_fail_is_given_up() -> None:
    replica = Replica("r0", "127.0.0.1", free_port())
    replica.breaker = tripped()
    generation, told = scripted(False)
    with pytest.raises(EngineUnresponsive, match="nothing but errors: HTTP 500"):
        await watch_breaker(replica, generation, pause=0.01, patience=0.1)
    assert len(told) >= 5


async def test_requests_held_are_served_in_the_order_in_which_they_came(serve: Serve) -> None:
    order: list[int] = []

    async def noting(asked: Asked, writer: asyncio.StreamWriter) -> None:
        order.append(asked.json["seed"])
        await chat("hi")(asked, writer)

    async with engine(noting) as server, serve(server.port, ready=False) as served:
        asking = []
        for seed in range(30):
            asking.append(asyncio.create_task(served.chat(seed=seed)))
            await until(lambda: served.pool.waiting == len(asking))
        served.pool.mark_ready(served.replicas[0])
        await asyncio.gather(*asking)
    assert order == sorted(order)


async def test_a_request_in_flight_at_a_replica_that_is_lost_costs_no_attempt(serve: Serve) -> None:
    """Five losses, three attempts allowed: it is answered in the end."""
    held = asyncio.Event()

    async def silent_then_good(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if len(server.asked) <= 5:
            await held.wait()
        await chat("hi")(asked, writer)

    async with engine(silent_then_good) as server, serve(server.port) as served:
        asking = asyncio.create_task(served.chat())
        for losses in range(1, 6):
            await until(lambda: len(server.asked) == losses)  # noqa: B023 - awaited in the same turn
            served.pool.mark_dead(served.replicas[0], "killed")
            served.pool.mark_ready(served.replicas[0])
        assert (await asking).status_code == 200
        assert served.ledger.retried_by_cause == {"reset": 5}
