"""A plain forwarder in aiohttp, tuned as its documentation says: what most Python gateways are at heart.

Run: `python benchmarks/peers/aiohttp_forwarder.py PORT ENGINE_PORT` (needs `pip install aiohttp`).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

ENGINE = web.AppKey("engine", str)
SESSION = web.AppKey("session", ClientSession)
DROPPED = {"host", "content-length", "transfer-encoding", "connection"}


async def forward(request: web.Request) -> web.StreamResponse:
    session, engine = request.app[SESSION], request.app[ENGINE]
    headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
    body = await request.read()
    async with session.request(request.method, engine + request.path_qs, data=body, headers=headers) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
        if not answer.content_type.startswith("text/event-stream"):
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
        stream = web.StreamResponse(status=answer.status, headers=kept)
        await stream.prepare(request)
        async for piece in answer.content.iter_any():
            await stream.write(piece)
        await stream.write_eof()
        return stream


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = TCPConnector(limit=0)
    timeout = ClientTimeout(total=None)
    async with ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20) as opened:
        app[SESSION] = opened
        yield


def main() -> None:
    app = web.Application(client_max_size=2**28)
    app[ENGINE] = f"http://127.0.0.1:{sys.argv[2]}"
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
