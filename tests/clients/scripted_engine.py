"""A real HTTP server whose every answer, or failure, a test writes itself, byte by byte where it matters."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Asked:
    """A request as the engine got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Behaviour = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedEngine:
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    dropped: int = 0
    """Requests whose client left before the behaviour had ended."""
    connections: int = 0


@contextlib.asynccontextmanager
async def engine(behaviour: Behaviour, *, port: int = 0) -> AsyncIterator[ScriptedEngine]:
    state = ScriptedEngine()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        state.connections += 1
        try:
            await _serve(state, behaviour, reader, writer, state.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # the server stops: start_server would log it
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def _serve(
    state: ScriptedEngine,
    behaviour: Behaviour,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    connection: int,
) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, path, headers, body, connection)
        state.asked.append(asked)
        answering = asyncio.ensure_future(behaviour(asked, writer))
        left = asyncio.ensure_future(until(lambda: reader.at_eof() or writer.is_closing(), 60))
        try:
            await asyncio.wait([answering, left], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                state.dropped += 1
                return
            answering.result()
        finally:
            for task in (answering, left):
                task.cancel()
            await asyncio.wait([answering, left])
        if writer.is_closing():
            return


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition, with a bound in seconds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - any condition, not one that sets an event
            await asyncio.sleep(0.005)


def chat_body(text: str | None, **choice: object) -> bytes:
    message = {"role": "assistant", "content": text}
    return orjson.dumps(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
    )


def chat(text: str | None, **choice: object) -> Behaviour:
    return raw(200, chat_body(text, **choice))


def raw(status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> Behaviour:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}{extra}\r\n".encode() + body)
        await writer.drain()

    return answer


def echo_chat(delay: float = 0.0) -> Behaviour:
    """Answers with the last message's own text, so that answers cannot be confused."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(delay)
        await raw(200, chat_body("said: " + asked.json["messages"][-1]["content"]))(asked, writer)

    return answer


def chunked(
    pieces: list[bytes], content_type: str = "application/json", gate: asyncio.Semaphore | None = None
) -> Behaviour:
    """Each piece as one chunk; with a gate, one piece per permit."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            if gate is not None:
                await gate.acquire()
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return answer


def bytes_then_reset(data: bytes) -> Behaviour:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if data:
            writer.write(data)
            await writer.drain()
        writer.close()

    return answer


def closing(behaviour: Behaviour) -> Behaviour:
    """Answers in keep-alive form, then closes all the same: the client's pooled connection goes stale."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await behaviour(asked, writer)
        writer.close()

    return answer


async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never says a byte."""
    await asyncio.Event().wait()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The nth request gets the nth behaviour, all later ones the last."""
    left = list(behaviours)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(asked, writer)

    return answer


def event(content: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return b"data: %b\n\n" % orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


DONE = b"data: [DONE]\n\n"
