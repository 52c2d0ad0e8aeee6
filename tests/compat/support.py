"""The gateway in front of the fake engine, and a client of another make as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from clients.gateway import Gateway
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from tests.orchestrator.opencompass.real_opencompass import fake_engine

SCRIPTS = Path(__file__).parent / "scripts"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class Served:
    """A gateway that listens, and the engine behind it."""

    url: str
    engine: str
    pool: Pool
    ledger: Ledger


@contextlib.asynccontextmanager
async def served(*engine: str, attempts: int = 1) -> AsyncIterator[Served]:
    async with fake_engine(*engine) as port:
        pool, ledger, replica = Pool(), Ledger(), Replica("r0", "127.0.0.1", port)
        pool.add(replica)
        pool.mark_ready(replica)
        gateway = Gateway(pool, ledger, None, served_model="fake", request_timeout=30, attempts=attempts, backoff=0.01)
        async with gateway.serving("127.0.0.1", 0) as url:
            yield Served(url, f"http://127.0.0.1:{port}", pool, ledger)
    assert ledger.asked == ledger.answered + ledger.failed


async def run(*argv: str | Path, stdin: bytes | None = None) -> bytes:
    """Standard output of a command that must succeed."""
    environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "OPENAI_API_KEY": "none"},
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate(stdin)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, err.decode()
    return out


async def script(python: Path, name: str, url: str) -> Any:
    """What a script of `scripts/` printed, as JSON."""
    return orjson.loads(await run(python, SCRIPTS / f"{name}.py", f"{url}/v1"))
