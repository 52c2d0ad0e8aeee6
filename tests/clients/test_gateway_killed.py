"""The process with the gateway is killed again and again: what a client has ever been given is in the journal."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.journal import Journal
from tests.clients.scripted_engine import DONE, Asked, chat_body, chunked, engine, event, raw
from tests.clients.serving import CHAT_REQUEST, serve_pool

pytestmark = pytest.mark.slow

KILLS = 8
WORKERS = 8
GATEWAY = """
import asyncio, sys
from pathlib import Path
from clients.gateway import Gateway
from clients.journal import Journal
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica


async def main():
    pool, replica = Pool(), Replica("r0", "127.0.0.1", int(sys.argv[1]))
    pool.add(replica)
    pool.mark_ready(replica)
    async with Journal(Path(sys.argv[2]), fingerprint="f") as journal:
        gateway = Gateway(pool, Ledger(), journal, served_model="m", request_timeout=10)
        async with gateway.serving("127.0.0.1", 0) as url:
            print(url, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""
Got = dict[int, bytes]


async def test_a_gateway_that_is_killed_at_any_time_replays_all_that_it_passed_on(tmp_path: Path) -> None:
    path, got, numbers = tmp_path / "journal", Got(), count()
    async with engine(_answer) as server:
        for kill in range(KILLS):
            before = len(got)
            await _killed_while_asked(server.port, path, got, numbers, enough=before + 20 + 10 * kill)
    async with Journal(path, fingerprint="f") as journal, serve_pool(journal=journal) as served:
        served.pool.close("there is no engine any more")
        assert journal.damaged == 0
        assert journal.answers >= len(got)
        for number, body in got.items():
            answer = await served.http.post("/v1/chat/completions", json=_request(number))
            assert (answer.status_code, answer.content) == (200, body)
        assert served.ledger.replayed == len(got) >= 20 * KILLS


async def _killed_while_asked(engine_port: int, path: Path, got: Got, numbers: count[int], enough: int) -> None:
    """Start a gateway, ask it from several sides, and kill it a moment after `enough` answers are there."""
    argv = (sys.executable, "-c", GATEWAY, str(engine_port), str(path))
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    try:
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False, verify=False, timeout=20) as http,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(WORKERS):
                group.create_task(_ask(http, numbers, got))
            async with asyncio.timeout(30):
                while len(got) < enough:  # noqa: ASYNC110 - bounded above
                    await asyncio.sleep(0.001)
            await asyncio.sleep(random.uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask(http: httpx.AsyncClient, numbers: count[int], got: Got) -> None:
    """Ask until the gateway is gone."""
    for number in numbers:
        try:
            answer = await http.post("/v1/chat/completions", json=_request(number))
        except httpx.TransportError:
            return
        assert answer.status_code == 200
        got[number] = answer.content


def _request(number: int) -> dict[str, Any]:
    return {**CHAT_REQUEST, "seed": number, "stream": number % 2 == 1}


async def _answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
    text = f"answer {asked.json['seed']} {random.random()} " * random.randrange(1, 50)
    if asked.json["stream"]:
        await chunked([event(text), event(None, "stop"), DONE], "text/event-stream")(asked, writer)
    else:
        await raw(200, chat_body(text))(asked, writer)
