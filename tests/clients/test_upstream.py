from __future__ import annotations

import asyncio

import pytest

from clients.errors import UpstreamError
from clients.upstream import Upstream
from tests.clients.scripted_engine import (
    Asked,
    bytes_then_reset,
    chunked,
    closing,
    engine,
    free_port,
    in_turn,
    raw,
    silent,
    until,
)

BIG = bytes(range(256)) * 4096  # 1 MiB


async def ask(upstream: Upstream, body: bytes = b"{}", timeout: float = 5.0) -> bytes:
    response = await upstream.send("POST", "/x", [(b"a", b"b")], body, timeout=timeout)
    return await response.read()


async def test_a_request_arrives_as_sent_and_its_answer_is_read_whole() -> None:
    async with engine(raw(201, b"hello", extra="x-engine: 1\r\n")) as server:
        response = await Upstream("127.0.0.1", server.port).send("POST", "/x?y=1", [(b"a", b"b")], BIG, timeout=5)
        assert (response.status, response.header(b"x-engine"), await response.read()) == (201, b"1", b"hello")
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["a"], asked.body) == ("POST", "/x?y=1", "b", BIG)


async def test_connections_are_kept_alive_and_used_again() -> None:
    async with engine(raw(200, b"ok")) as server:
        upstream = Upstream("127.0.0.1", server.port)
        for _ in range(5):
            assert await ask(upstream) == b"ok"
        assert (server.connections, upstream.connections) == (1, 1)


async def test_there_is_no_limit_of_100_connections() -> None:
    gate = asyncio.Event()

    async def wait(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await raw(200, asked.body)(asked, writer)

    async with engine(wait) as server, asyncio.TaskGroup() as tasks:
        upstream = Upstream("127.0.0.1", server.port)
        asking = [tasks.create_task(ask(upstream, b"%d" % n)) for n in range(300)]
        await until(lambda: len(server.asked) == 300)
        gate.set()
    assert [task.result() for task in asking] == [b"%d" % n for n in range(300)]


async def test_a_chunked_answer_comes_piece_by_piece() -> None:
    gate = asyncio.Semaphore(0)
    async with engine(chunked([b"one", b"two", b"three"], gate=gate)) as server:
        gate.release()
        response = await Upstream("127.0.0.1", server.port).send("POST", "/", [], b"", timeout=5)
        pieces = []
        async for piece in response:
            pieces.append(piece)
            gate.release()
    assert pieces == [b"one", b"two", b"three"]


async def test_an_answer_without_length_ends_when_the_server_closes() -> None:
    async with engine(bytes_then_reset(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as server:
        assert await ask(Upstream("127.0.0.1", server.port)) == b"all of it"


async def test_a_slow_reader_pauses_the_engine_and_loses_nothing() -> None:
    sent = 0

    async def flood(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * len(BIG)))
        for _ in range(64):
            writer.write(BIG)
            await writer.drain()
            sent += 1

    async with engine(flood) as server:
        response = await Upstream("127.0.0.1", server.port).send("POST", "/", [], b"", timeout=5)
        before = -1
        while before != sent:  # until the engine has come to a halt
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32
        received = b"".join([piece async for piece in response])
    assert received == BIG * 64


async def test_a_keep_alive_connection_closed_by_the_server_is_replaced_unseen() -> None:
    async with engine(in_turn(raw(200, b"1"), bytes_then_reset(b""), raw(200, b"3"))) as server:
        upstream = Upstream("127.0.0.1", server.port)
        assert await ask(upstream) == b"1"
        assert await ask(upstream) == b"3"  # the second try of the second request
        assert [asked.connection for asked in server.asked] == [1, 1, 2]


async def test_a_server_that_closes_after_each_answer_is_no_failure() -> None:
    async with engine(closing(raw(200, b"ok"))) as server:
        upstream = Upstream("127.0.0.1", server.port)
        assert [await ask(upstream) for _ in range(3)] == [b"ok"] * 3


@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (b"", "reset"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "cut"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "cut"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", "cut"),
        (b"SSH-2.0-OpenSSH\r\n", "cut"),
    ],
)
async def test_a_broken_answer_is_named(sent: bytes, cause: str) -> None:
    async with engine(bytes_then_reset(sent)) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(Upstream("127.0.0.1", server.port))
    assert caught.value.cause == cause


async def test_a_port_without_listener_is_refused() -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(Upstream("127.0.0.1", free_port()))
    assert caught.value.cause == "refused"


async def test_silence_times_out_and_the_engine_sees_the_client_leave() -> None:
    async with engine(silent) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(Upstream("127.0.0.1", server.port), timeout=0.2)
        assert caught.value.cause == "timeout"
        await until(lambda: server.dropped == 1)


async def test_a_long_answer_is_not_abandoned_while_bytes_flow() -> None:
    async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
        for _ in range(8):
            writer.write(b"x")
            await asyncio.sleep(0.1)

    async with engine(drip) as server:
        assert await ask(Upstream("127.0.0.1", server.port), timeout=0.4) == b"x" * 8


async def test_cancelling_a_request_closes_its_connection() -> None:
    async with engine(silent) as server:
        upstream = Upstream("127.0.0.1", server.port)
        asking = asyncio.create_task(ask(upstream))
        await until(lambda: server.asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: server.dropped == 1 and upstream.connections == 0)
