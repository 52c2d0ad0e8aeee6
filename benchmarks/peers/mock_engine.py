"""An engine that answers as cheaply as Python can: what is measured is what stands in front of it.

Run: `python benchmarks/peers/mock_engine.py PORT CHUNKS INTERVAL` (streams: so many chunks, so many seconds apart).
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import cast

import httptools

TEXT = b"The answer is 42. "
ANSWER = (
    b'{"id":"cmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"' + TEXT * 20 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"%b"},"finish_reason":%b}]}\n\n'
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PIECE = chunk(EVENT % (b" 42", b"null"))
LAST = chunk(EVENT % (b"", b'"stop"') + b"data: [DONE]\n\n") + chunk(b"")


class MockEngine(asyncio.Protocol):
    def __init__(self, chunks: int, interval: float) -> None:
        self.chunks = chunks
        self.interval = interval
        self.body = b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if b'"stream":true' in body or b'"stream": true' in body:
            self.transport.write(STREAM)
            self.piece(self.chunks)
        else:
            self.transport.write(HEAD + ANSWER)

    def piece(self, left: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(PIECE if left else LAST)
        if left:
            self.loop.call_later(self.interval, partial(self.piece, left - 1))


async def serve(port: int, chunks: int, interval: float) -> None:
    made = partial(MockEngine, chunks, interval)
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
