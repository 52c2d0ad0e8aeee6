"""Replicas that die, hang and come back, or do not: processes of their own behind a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.errors import EngineUnresponsive
from clients.spec import ProbeSpec
from launchers.errors import EngineFailed
from launchers.spec import ServeSpec
from orchestrator.serving import Serving
from orchestrator.settings import Settings
from tests.clients.scripted_engine import until

FAKE = ["{python}", "-m", "orchestrator.fake_engine", "--port", "{port}"]
FADING = ["{python}", str(Path(__file__).with_name("fading_engine.py")), "--port", "{port}"]
WATCHFUL = ProbeSpec(timeout=2.0, interval=0.5)


@dataclass
class House:
    """A served model, its guard and what was told."""

    serving: Serving
    guard: asyncio.Task[object]
    http: httpx.AsyncClient
    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    async def ask(self, number: int) -> int:
        body = {"model": "fake", "messages": [{"role": "user", "content": f"question {number}"}], "max_tokens": 8}
        return (await self.http.post("/v1/chat/completions", json=body)).status_code

    def kill(self, name: str) -> None:
        os.kill(self.serving.servers[name].tree.pid, signal.SIGKILL)

    def count(self, word: str) -> int:
        """Messages that begin with `word`."""
        return sum(message.startswith(word) for message, _ in self.told)


@contextlib.asynccontextmanager
async def house(
    tmp_path: Path, command: list[str], *, probe: ProbeSpec = WATCHFUL, **serve: Any
) -> AsyncIterator[House]:
    told: list[tuple[str, Mapping[str, Any]]] = []
    spec = ServeSpec(engine="custom", model="fake", command=command, **serve)
    serving = Serving(
        spec,
        probe,
        Settings(home=tmp_path / "home"),
        owner=f"replicas-{os.getpid()}",
        folder=tmp_path / "job",
        tell=lambda phase, message, data: told.append((message, data)),
    )
    tasks = []
    try:
        serving.allocate()
        url = await serving.open_gateway()
        await serving.start()
        await serving.probe()
        tasks.append(asyncio.create_task(serving.guard()))
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, verify=False) as http:
            yield House(serving, tasks[0], http, told)
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])
        proof = await serving.stop()
    assert proof.clean


async def test_requests_in_flight_wait_while_the_only_replica_is_started_again(tmp_path: Path) -> None:
    async with house(tmp_path, [*FAKE, "--latency", "0.5"]) as home:
        asking = [asyncio.create_task(home.ask(number)) for number in range(20)]
        await until(lambda: home.serving.pool.in_flight == 20)
        home.kill("engine-0")
        assert [await one for one in asking] == [200] * 20
        assert home.serving.ledger.retried == 20
        assert home.serving.restarts()["replicas"][0]["restarts"] == 1
        ((_, back),) = [told for told in home.told if told[0].startswith("back after")]
        assert (back["replica"], back["cause"], back["restarts"]) == ("engine-0", "engine_exited", 1)
        assert back["seconds"] > 0.5


async def test_a_replica_that_hangs_is_killed_before_it_is_started_again(tmp_path: Path) -> None:
    async with house(tmp_path, [*FAKE, "--hang-after", "10", "--ignore-sigterm"]) as home:
        hung = home.serving.servers["engine-0"].tree
        statuses = await asyncio.gather(*(home.ask(number) for number in range(15)))
        assert statuses == [200] * 15
        assert hung.ended
        assert hung.exit_code == -signal.SIGKILL
        assert home.serving.servers["engine-0"].tree.pid != hung.pid
        home.guard.cancel()
        await home.serving.servers["engine-0"].stop(0.0)  # it ignores SIGTERM: no need to wait for it


async def test_an_engine_that_can_not_start_again_spends_its_budget_quickly(tmp_path: Path) -> None:
    async with house(tmp_path, FADING, max_restarts=2) as home:
        began = time.monotonic()
        home.kill("engine-0")
        with pytest.raises(EngineFailed, match="exited with code 1"):
            await home.guard
        assert time.monotonic() - began < 15
        assert (home.count("replica lost"), home.count("restart")) == (3, 2)
        assert await home.ask(1) == 503, "none will come: no waiting"


async def test_without_a_budget_nothing_is_started_again(tmp_path: Path) -> None:
    async with house(tmp_path, FAKE, max_restarts=0) as home:
        home.kill("engine-0")
        with pytest.raises(EngineFailed, match="killed by signal 9"):
            await home.guard
        assert home.count("restart") == 0


async def test_while_one_replica_is_left_the_job_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path, FADING, replicas=2, max_restarts=1) as home:
        home.kill("engine-0")
        await until(lambda: home.count("replica lost") == 2, 20)
        assert await asyncio.gather(*(home.ask(number) for number in range(10))) == [200] * 10
        assert not home.guard.done()
        home.kill("engine-1")
        with pytest.raises(EngineFailed):
            await home.guard


async def test_an_engine_that_answers_nothing_but_errors_counts_as_lost(tmp_path: Path) -> None:
    """Its process and its health live: only its answers tell. No restart is allowed here, so that the cause is seen."""
    broken = [*FAKE, "--error-rate", "0.95", "--seed", "112"]
    async with house(tmp_path, broken, max_restarts=0) as home:
        asking = [asyncio.create_task(home.ask(number)) for number in range(30)]
        with pytest.raises(EngineUnresponsive, match="http_500"):
            await home.guard
        statuses = {await one for one in asking}
        assert 503 in statuses, "held until it was known that none will come, not burned"


async def test_slow_is_not_dead(tmp_path: Path) -> None:
    """One at a time, 0.4 s each: the last of ten waits four times the limit of silence of a generation's probe."""
    probe = ProbeSpec(timeout=1.0, interval=0.3)
    async with house(tmp_path, [*FAKE, "--slots", "1", "--latency", "0.4"], probe=probe) as home:
        asking = [asyncio.create_task(home.ask(number)) for number in range(2)]
        for number in range(2, 12):
            done, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            assert {one.result() for one in done} == {200}
            asking = [*waiting, asyncio.create_task(home.ask(number))]
        assert {await one for one in asking} == {200}
        assert home.count("replica lost") == 0
