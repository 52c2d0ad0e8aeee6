"""The number in flight that is found: by gauges, by throughput, by refusals."""

from __future__ import annotations

import asyncio

from clients.gauges import Load, load_of, watch_gauges
from clients.limiter import Limiter
from clients.pool import Pool
from clients.replica import Replica
from clients.request import read_request
from tests.clients.scripted_engine import Asked, chat, engine, free_port, raw, until
from tests.clients.serving import serve_pool

REQUEST = read_request("/v1/chat/completions", "/v1/chat/completions", [], b"{}")


def answers(limiter: Limiter, count: int, *, saturated: bool = True) -> None:
    for _ in range(count):
        limiter.finished(0.01, "", saturated=saturated)


def reasons(limiter: Limiter) -> list[str]:
    return [reason for _, _, reason in limiter.snapshot()["history"]]


def test_a_refusal_for_overload_cuts_the_limit_once_per_round() -> None:
    limiter = Limiter(100)
    answers(limiter, 1)
    for _ in range(50):
        limiter.finished(0.01, "http_429", saturated=True)
    assert limiter.limit == 70
    answers(limiter, 100)
    limiter.finished(0.01, "timeout", saturated=True)
    assert limiter.limit == 49
    assert reasons(limiter) == ["start", "overload: http_429", "overload: timeout"]


def test_failures_that_are_no_overload_cut_nothing() -> None:
    limiter = Limiter(32)
    for cause in ("http_500", "reset", "empty_answer", "http_400"):
        limiter.finished(0.01, cause, saturated=True)
    assert limiter.limit == 32


def test_rounds_in_which_nobody_waited_say_nothing() -> None:
    limiter = Limiter(8)
    answers(limiter, 1000, saturated=False)
    assert limiter.limit == 8


def test_it_grows_while_all_run_in_the_engine_and_more_are_held() -> None:
    limiter = Limiter(8, most=100)
    answers(limiter, 1)
    for expected in (16, 32, 64, 100, 100):
        limiter.observe(limiter.limit, 0, limiter.limit)
        assert limiter.limit == expected


def test_a_queue_in_the_engine_cuts_it_to_what_runs_but_not_at_the_first_look() -> None:
    limiter = Limiter(256)
    answers(limiter, 1)
    for _ in range(2):
        limiter.observe(64, 192, 256)
    assert limiter.limit == 256
    limiter.observe(64, 192, 256)
    assert limiter.limit == 72


def test_gauges_that_are_too_old_to_be_true_are_not_believed() -> None:
    limiter = Limiter(256)
    answers(limiter, 1)
    for _ in range(10):
        limiter.observe(3, 0, 256)
    assert limiter.limit == 256


def test_an_idle_engine_is_no_reason_to_grow() -> None:
    limiter = Limiter(8)
    answers(limiter, 1)
    for _ in range(10):
        limiter.observe(0, 0, 0)
    assert limiter.limit == 8


def test_the_history_is_bounded() -> None:
    limiter = Limiter(8, most=10**9)
    answers(limiter, 1)
    for _ in range(2000):
        limiter.observe(limiter.limit, 0, limiter.limit)
        limiter.finished(0.01, "http_429", saturated=True)
        answers(limiter, 4)
    assert len(limiter.snapshot()["history"]) <= 500


def test_the_gauges_of_every_engine_are_read() -> None:
    vllm = '# TYPE x gauge\nvllm:num_requests_running{engine="0",model_name="a}b"} 3.0\nvllm:num_requests_waiting{} 2'
    assert load_of(vllm) == Load(3, 2)
    assert load_of('sglang:num_running_reqs{tp_rank="0"} 3 1700000000\nsglang:num_queue_reqs 0') == Load(3, 0)
    assert load_of("lightllm_num_running_reqs 7\nlightllm_queue_size 1") == Load(7, 1)
    assert load_of("llamacpp:requests_processing 1\nllamacpp:requests_deferred 4") == Load(1, 4)
    two = 'lmdeploy:num_requests_running{engine="0"} 3\nlmdeploy:num_requests_running{engine="1"} 4'
    assert load_of(two) == Load(7, 0)
    assert load_of("process_cpu_seconds_total 3") is None


async def test_no_more_are_in_flight_than_the_limit_and_the_others_come_in_order() -> None:
    limiter = Limiter(3, most=3)
    async with engine(chat("hi")) as server, serve_pool(server.port) as served:
        served.pool.limit_by(limiter)
        most = 0
        order: list[int] = []

        async def ask(number: int) -> None:
            nonlocal most
            with await served.pool.acquire(REQUEST):
                order.append(number)
                most = max(most, served.pool.in_flight)
                await asyncio.sleep(0.005)

        await asyncio.gather(*(ask(number) for number in range(40)))
    assert most == 3
    assert order == list(range(40))


async def test_a_limit_that_grows_lets_those_who_wait_go_at_once() -> None:
    limiter = Limiter(1)
    pool = Pool(limiter=limiter)
    replica = Replica("r0", "127.0.0.1", free_port())
    pool.add(replica)
    pool.mark_ready(replica)
    first = await pool.acquire(REQUEST)
    second = asyncio.create_task(pool.acquire(REQUEST))
    await until(lambda: pool.waiting == 1)
    answers(limiter, 1)
    limiter.observe(1, 0, 1)
    for lease in (first, await second):
        lease.__exit__(None, None, None)
    assert pool.in_flight == 0


async def test_what_was_lent_to_a_request_that_is_given_up_in_the_same_moment_is_given_back() -> None:
    pool = Pool(limiter=Limiter(1, most=1))
    replica = Replica("r0", "127.0.0.1", free_port())
    pool.add(replica)
    pool.mark_ready(replica)
    first = await pool.acquire(REQUEST)
    second = asyncio.create_task(pool.acquire(REQUEST))
    await until(lambda: pool.waiting == 1)
    first.__exit__(None, None, None)
    second.cancel()
    await asyncio.wait([second])
    assert second.cancelled()
    assert (pool.in_flight, replica.in_flight, pool.waiting) == (0, 0, 0)


async def test_the_engine_is_asked_for_its_gauges_and_that_is_no_sign_of_life() -> None:
    async def metrics(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await raw(200, b"fake:num_requests_running 4\nfake:num_requests_waiting 0\n", "text/plain")(asked, writer)

    limiter = Limiter(4)
    answers(limiter, 1)
    async with engine(metrics) as server, serve_pool(server.port) as served:
        served.pool.limit_by(limiter)
        leases = [await served.pool.acquire(REQUEST) for _ in range(4)]
        watching = asyncio.create_task(watch_gauges(served.pool, limiter, interval=0.01))
        await until(lambda: limiter.limit == 8)
        for lease in leases:
            lease.__exit__(None, None, None)
        watching.cancel()
        await asyncio.wait([watching])
        assert served.replicas[0].last_success == float("-inf")
