"""Four replicas, of which one is killed, one hangs, one is slow, one gives 500s and half answers; 2,000 requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from clients.spec import ProbeSpec
from clients.upstream import Upstream
from launchers.spec import ServeSpec
from orchestrator.serving import Serving
from orchestrator.settings import Settings
from tests.clients.scripted_engine import until

pytestmark = pytest.mark.slow

ROWS = Path(__file__).parents[2] / "eval_configs" / "data" / "demo_arithmetic" / "test.jsonl"
ENGINE = ["{python}", str(Path(__file__).with_name("uneven_engine.py")), "--port", "{port}", "--answers", str(ROWS)]
REQUESTS, WORKERS = 2000, 48
PROBE = ProbeSpec(timeout=3.0, interval=1.0)


@dataclass
class Told:
    """What the serving told, and when, in seconds of the monotonic clock."""

    events: list[tuple[float, str, str, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(self, phase: str, message: str, data: Mapping[str, Any]) -> None:
        self.events.append((time.monotonic(), phase, message, data))

    def first(self, replica: str, word: str) -> float:
        """When the first message about the replica came that begins with `word`."""
        return next(at for at, phase, text, _ in self.events if phase == f"evaluating/{replica}" and word in text)

    def data(self, replica: str, word: str) -> Mapping[str, Any]:
        """The data of that message."""
        return next(data for _, phase, text, data in self.events if phase == f"evaluating/{replica}" and word in text)


@contextlib.asynccontextmanager
async def served(tmp_path: Path, told: Told) -> AsyncIterator[tuple[Serving, str]]:
    """The four replicas behind a gateway, watched; torn down with proof."""
    spec = ServeSpec(engine="custom", model="fake", command=ENGINE, replicas=4)
    settings = Settings(home=tmp_path / "home")
    serving = Serving(spec, PROBE, settings, owner=f"chaos-{os.getpid()}", folder=tmp_path / "job", tell=told)
    guard: asyncio.Task[object] | None = None
    try:
        serving.allocate()
        url = await serving.open_gateway(journal=tmp_path / "journal")
        await serving.start()
        await serving.probe()
        guard = asyncio.create_task(serving.guard())
        yield serving, url
    finally:
        if guard:
            guard.cancel()
            await asyncio.wait([guard])
        proof = await serving.stop()
    assert proof.clean


@dataclass
class Asking:
    """2,000 requests, so many at a time."""

    url: str
    rows: list[dict[str, str]]
    answers: dict[int, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def all(self) -> None:
        upstream = Upstream("127.0.0.1", int(self.url.rsplit(":", 1)[1]))
        numbers = iter(range(REQUESTS))

        async def work() -> None:
            for number in numbers:
                await self._ask(upstream, number)

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())
        upstream.close()

    async def _ask(self, upstream: Upstream, number: int) -> None:
        question = self.rows[number % len(self.rows)]["question"]
        message = {"role": "user", "content": f"Ask no. {number}. {question}"}
        body = orjson.dumps({"model": "fake", "messages": [message], "temperature": 0, "max_tokens": 128})
        headers = [(b"content-type", b"application/json")]
        answer = await upstream.send("POST", "/v1/chat/completions", headers, body, timeout=120)
        text = await answer.read()
        self.statuses[answer.status] += 1
        assert number not in self.answers
        if answer.status == 200:
            self.answers[number] = orjson.loads(text)["choices"][0]["message"]["content"]

    def right(self) -> int:
        """Answers whose last number is the one that the question asks for."""
        golds = [row["answer"].rpartition("#### ")[2] for row in self.rows]
        return sum(re.findall(r"-?\d+", text)[-1] == golds[n % len(golds)] for n, text in self.answers.items())


@dataclass
class Moments:
    """First times at which something was seen of the sick replica."""

    failed: float = 0.0
    ejected: float = 0.0

    async def watch(self, serving: Serving) -> None:
        sick = serving.pool.replicas[3]
        await until(lambda: sick.last_error, 60)
        self.failed = time.monotonic()
        await until(lambda: sick.breaker.state != "closed", 60)
        self.ejected = time.monotonic()


async def test_every_request_is_answered_right_and_once_whatever_the_replicas_do(tmp_path: Path) -> None:
    told, moments = Told(), Moments()
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    async with served(tmp_path, told) as (serving, url):
        asking = Asking(url, rows)
        watching = asyncio.create_task(moments.watch(serving))
        began = time.monotonic()
        work = asyncio.create_task(asking.all())
        await until(lambda: len(asking.answers) >= 500 or work.done(), 60)
        in_flight = serving.pool.replicas[0].in_flight
        os.kill(serving.servers["engine-0"].tree.pid, signal.SIGKILL)
        killed = time.monotonic()
        await work
        seconds = time.monotonic() - began
        back = "back after"
        await until(lambda: all(replica.state == "ready" for replica in serving.pool.replicas), 60)
        await watching
        ledger = serving.ledger
        figures = {
            "answered right": asking.right(),
            "seconds": round(seconds, 1),
            "asked more than once": ledger.retried,
            "causes": dict(ledger.retried_by_cause),
            "killed: in flight": in_flight,
            "killed: lost after": round(told.first("engine-0", "replica lost") - killed, 3),
            "killed: back after": round(told.first("engine-0", back) - killed, 2),
            "hung: lost after quiet": told.data("engine-1", "replica lost")["quiet"],
            "hung: back after loss": round(told.first("engine-1", back) - told.first("engine-1", "replica lost"), 2),
            "sick: ejected after": round(moments.ejected - moments.failed, 3),
            "sick: back after": round(told.first("engine-3", back) - moments.failed, 2),
            "served": [replica.served for replica in serving.pool.replicas],
            "restarts": [replica["restarts"] for replica in serving.restarts()["replicas"]],
        }
    print(json.dumps(figures, indent=1))
    assert asking.statuses == {200: REQUESTS}
    assert sorted(asking.answers) == list(range(REQUESTS))
    assert asking.right() == REQUESTS
    assert (ledger.asked, ledger.answered, ledger.failed) == (REQUESTS, REQUESTS, 0)
    assert figures["restarts"] == [1, 1, 0, 1], "slow is not dead"
