from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from clients.errors import ForeignListener, StartupStalled, StartupTimeout
from clients.readiness import Listening, wait_listening
from tests.clients.scripted_engine import Asked, Behaviour, engine, free_port, in_turn, raw, silent, until

MODELS = b'{"object": "list", "data": [{"id": "m"}, {"id": "other"}]}'


class EngineExitedError(Exception):
    pass


@dataclass
class ScriptedWatch:
    """What a launcher would tell of a server; a test turns the knobs."""

    owner: bool | None = True
    exited: bool = False
    log: list[str] = field(default_factory=list)

    def check(self) -> None:
        if self.exited:
            raise EngineExitedError

    def progress(self) -> object:
        return len(self.log)

    def owns_listener(self) -> bool | None:
        return self.owner


def by_path(**behaviours: Behaviour) -> Behaviour:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await behaviours.get(asked.path.rsplit("/", 1)[-1], raw(404, b""))(asked, writer)

    return answer


async def climb(port: int, watch: ScriptedWatch, **more: Any) -> Listening:
    asked: dict[str, Any] = {"health_path": "/health", "expected_model": "m", "startup_timeout": 5, "stall_timeout": 5}
    return await wait_listening(f"http://127.0.0.1:{port}", watch, interval=0.02, **{**asked, **more})


async def test_the_rungs_are_climbed_in_order_with_their_times() -> None:
    health = in_turn(raw(503, b"loading"), raw(503, b"loading"), raw(200, b""))
    models = in_turn(raw(500, b"CacheNotFound"), raw(200, b'{"data": []}'), raw(200, MODELS))
    async with engine(by_path(health=health, models=models)) as server:
        listening = await climb(server.port, ScriptedWatch())
    assert [rung.name for rung in listening.rungs] == ["process alive", "port ours", "health", "model named"]
    seconds = [rung.seconds for rung in listening.rungs]
    assert seconds == sorted(seconds)
    assert [asked.path for asked in server.asked] == ["/health"] * 3 + ["/v1/models"] * 3


async def test_rungs_that_the_engine_does_not_have_are_left_out() -> None:
    listening = await climb(free_port(), ScriptedWatch(), health_path=None, expected_model=None)
    assert [rung.name for rung in listening.rungs] == ["process alive", "port ours"]


async def test_a_server_that_comes_late_is_waited_for() -> None:
    watch = ScriptedWatch(owner=None)
    port = free_port()
    climbing = asyncio.create_task(climb(port, watch))
    await asyncio.sleep(0.1)  # long enough for it to look a few times
    async with engine(by_path(health=raw(200, b""), models=raw(200, MODELS)), port=port):
        watch.owner = True
        assert len((await climbing).rungs) == 4


async def test_a_server_that_is_not_ours_is_never_asked() -> None:
    async with engine(by_path(health=raw(200, b""), models=raw(200, MODELS))) as server:
        with pytest.raises(ForeignListener, match="not ours"):
            await climb(server.port, ScriptedWatch(owner=False))
    assert not server.asked


@pytest.mark.parametrize("health", [raw(503, b""), silent], ids=["unhealthy", "hanging"])
async def test_a_process_that_goes_away_ends_the_wait_at_once(health: Behaviour) -> None:
    watch = ScriptedWatch()
    async with engine(by_path(health=health)) as server:
        climbing = asyncio.create_task(climb(server.port, watch))
        await until(lambda: server.asked)
        watch.exited = True
        async with asyncio.timeout(1):
            with pytest.raises(EngineExitedError):
                await climbing


async def test_a_start_that_takes_too_long_tells_what_was_seen_last() -> None:
    async with engine(by_path(health=raw(503, b"loading"))) as server:
        with pytest.raises(StartupTimeout, match=r"not ready within 0\.3 s: /health answered 503 for 0 s"):
            await climb(server.port, ScriptedWatch(), startup_timeout=0.3)


async def test_a_start_without_progress_is_stalled_and_one_with_a_growing_log_is_not() -> None:
    watch = ScriptedWatch(owner=None)

    async def log() -> None:
        for _ in range(12):
            watch.log.append("loading")
            await asyncio.sleep(0.05)

    logging = asyncio.create_task(log())
    with pytest.raises(StartupStalled, match="nobody listens on the port"):
        await climb(free_port(), watch, stall_timeout=0.3)
    assert logging.done()  # as long as the log grew it waited


async def test_a_model_of_another_name_is_told() -> None:
    async with engine(by_path(health=raw(200, b""), models=raw(200, MODELS))) as server:
        with pytest.raises(StartupTimeout, match=r"names \['m', 'other'\], not 'mine'"):
            await climb(server.port, ScriptedWatch(), expected_model="mine", startup_timeout=0.3)


async def test_proxies_of_the_environment_never_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with engine(by_path(health=raw(200, b""), models=raw(200, MODELS))) as server:
        assert len((await climb(server.port, ScriptedWatch())).rungs) == 4
