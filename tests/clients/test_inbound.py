from __future__ import annotations

import asyncio

import pytest

from clients.inbound import MAX_HEAD, Visit, listening
from tests.clients.scripted_engine import until

OK = b"HTTP/1.1 200 OK\r\n"


async def echo(visit: Visit) -> None:
    await visit.whole(200, [(b"x", b"1")], f"{visit.method} {visit.target} ".encode() + visit.body)


async def conversation(url: str, sent: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    writer.write(sent)
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    return got


LAST = b"GET /last HTTP/1.1\r\nconnection: close\r\n\r\n"
LAST_ANSWER = OK + b"x: 1\r\ncontent-length: 10\r\nconnection: close\r\n\r\nGET /last "


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with listening(echo, "127.0.0.1", 0) as url:
        got = await conversation(url, b"POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi" + LAST)
    assert got == OK + b"x: 1\r\ncontent-length: 10\r\n\r\nPOST /a hi" + LAST_ANSWER


async def test_a_chunked_request_is_put_together() -> None:
    async with listening(echo, "127.0.0.1", 0) as url:
        head = b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        got = await conversation(url, head + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n")
    assert got.endswith(b"\r\n\r\nPOST /a hi")


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    async with listening(echo, "127.0.0.1", 0) as url:
        head = b"POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
        got = await conversation(url, head + b"hi")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)


async def test_head_has_no_body_and_http_1_0_closes() -> None:
    async with listening(echo, "127.0.0.1", 0) as url:
        assert (await conversation(url, b"HEAD / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\n")
        assert (await conversation(url, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"GET / ")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nhi", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (MAX_HEAD + 1) + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes, status: int) -> None:
    async with listening(echo, "127.0.0.1", 0) as url:
        assert (await conversation(url, sent)).startswith(b"HTTP/1.1 %d " % status)


async def test_a_client_that_reads_slowly_holds_the_handler_back() -> None:
    sent = 0

    async def flood(visit: Visit) -> None:
        nonlocal sent
        await visit.start(200, [])
        for _ in range(64):
            await visit.piece(bytes(1 << 20))
            sent += 1
        await visit.end()

    async with listening(flood, "127.0.0.1", 0) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]), limit=1 << 16)
        writer.write(LAST)
        before = -1
        while before != sent or not sent:  # until it has come to a halt
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32
        async with asyncio.timeout(10):
            assert len(await reader.read()) > 64 << 20
        assert sent == 64
        writer.close()


async def test_a_handler_that_breaks_costs_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(visit: Visit) -> None:
        if visit.path == "/broken":
            raise ValueError("a defect")
        await echo(visit)

    async with listening(broken, "127.0.0.1", 0) as url:
        assert await conversation(url, b"GET /broken HTTP/1.1\r\n\r\n") == b""
        assert "a defect" in caplog.text
        assert await conversation(url, LAST) == LAST_ANSWER


async def test_stopping_is_prompt_and_tells_the_handler() -> None:
    began, ended = [], []

    async def hang(visit: Visit) -> None:
        began.append(visit)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(visit.ended)

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(1):
        async with listening(hang, "127.0.0.1", 0) as url:
            asking = tasks.create_task(conversation(url, LAST))
            idle = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
            await until(lambda: began)
        assert await asking == b""
        assert await idle[0].read() == b""
        idle[1].close()
    assert ended == ["gateway_stopped"]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_cut_answer_never_looks_complete(version: bytes) -> None:
    async def half(visit: Visit) -> None:
        await visit.start(200, [])
        await visit.piece(b"half")
        visit.cut()

    async with listening(half, "127.0.0.1", 0) as url:
        try:
            got = await conversation(url, b"GET / HTTP/%b\r\n\r\n" % version)
        except ConnectionResetError:
            return
    assert version == b"1.1"
    assert not got.endswith(b"0\r\n\r\n")
