"""From a started process to a server that is ours and lists our model, rung by rung.

The last rung, a real generation, is `clients.probe`: a health route alone proves nothing on most engines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import httpx
import orjson

from clients.errors import ForeignListener, StartupStalled, StartupTimeout

_T = TypeVar("_T")
_REQUEST_TIMEOUT = 30.0  # SGLang's health route may take 20 s


class Watch(Protocol):
    """What only the one who started the server can tell. Called about ten times a second: keep it cheap."""

    def check(self) -> None:
        """Raise if the process is gone, or its log says that it never will be ready."""

    def progress(self) -> object:
        """Any value; one that differs from the last means progress (the size of the log, say)."""

    def owns_listener(self) -> bool | None:
        """Is the listener on the port ours? None: nobody listens yet. Raise, or say False, if it is not."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A step that was reached, so many seconds after the wait began."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that is ready for its first generation."""

    rungs: list[Rung]


async def wait_listening(
    base_url: str,
    watch: Watch,
    *,
    health_path: str | None,
    expected_model: str | None,
    startup_timeout: float,
    stall_timeout: float,
    interval: float = 0.1,
) -> Listening:
    """Climb: process alive -> port ours -> health 200 -> model named in `/v1/models`. All times in seconds.

    The rungs for `health_path` and `expected_model` are left out where these are None. Raises what `watch`
    raises, `ForeignListener`, `StartupTimeout` (the whole wait) or `StartupStalled` (so long without progress
    and without anything new seen), the last two with the last thing seen.
    """
    ladder = _Ladder(watch, startup_timeout, stall_timeout, interval)
    ladder.look()
    ladder.reached("process alive")
    while not _ours(base_url, watch):
        await ladder.wait("nobody listens on the port")
    ladder.reached("port ours")
    tls = base_url.startswith("https:")  # to set TLS up takes 0.1 s of CPU, during which the gateway would stand still
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, verify=tls, timeout=_REQUEST_TIMEOUT) as http:
        if health_path is not None:
            while complaint := await ladder.watching(_health(http, health_path)):
                await ladder.wait(complaint)
            ladder.reached("health")
        if expected_model is not None:
            while complaint := await ladder.watching(_model(http, expected_model)):
                await ladder.wait(complaint)
            ladder.reached("model named")
    return Listening(ladder.rungs)


class _Ladder:
    """Where the climb stands, and when it has taken too long."""

    def __init__(self, watch: Watch, startup_timeout: float, stall_timeout: float, interval: float) -> None:
        self.rungs: list[Rung] = []
        self._watch = watch
        self._startup_timeout = startup_timeout
        self._stall_timeout = stall_timeout
        self._interval = interval
        self._began = self._changed = self._seen_since = time.monotonic()
        self._progress: object = watch.progress()
        self._seen = "nothing yet"

    def reached(self, name: str) -> None:
        """One rung higher."""
        self._changed = time.monotonic()
        self.rungs.append(Rung(name, self._changed - self._began))

    def look(self) -> None:
        """Raise if the server never will be ready, or if it has taken too long."""
        self._watch.check()
        now = time.monotonic()
        progress = self._watch.progress()
        if progress != self._progress:
            self._progress, self._changed = progress, now
        seen = f"{self._seen} for {now - self._seen_since:.0f} s"
        if now - self._began >= self._startup_timeout:
            raise StartupTimeout(
                f"not ready within {self._startup_timeout:g} s: {seen}",
                hint="see the engine's log; raise serve.startup_timeout if it shows progress",
            )
        if now - self._changed >= self._stall_timeout:
            raise StartupStalled(
                f"no new log line and no change for {self._stall_timeout:g} s: {seen}",
                hint="see the end of the engine's log; raise serve.stall_timeout if it is only slow",
            )

    async def wait(self, seen: str) -> None:
        """Note what was seen and let a moment pass."""
        if seen != self._seen:
            self._seen = seen
            self._seen_since = self._changed = time.monotonic()
        self.look()
        await asyncio.sleep(self._interval)

    async def watching(self, question: Awaitable[_T]) -> _T:
        """The answer to `question`, looking at the server all the while."""
        asked = asyncio.ensure_future(question)
        try:
            while not asked.done():
                self.look()
                await asyncio.wait([asked], timeout=self._interval)
            return asked.result()
        finally:
            asked.cancel()
            await asyncio.wait([asked])


def _ours(base_url: str, watch: Watch) -> bool:
    owns = watch.owns_listener()
    if owns is False:
        raise ForeignListener(
            f"a server that is not ours listens at {base_url}",
            hint="choose another port, or stop that server",
        )
    return owns is True


async def _health(http: httpx.AsyncClient, path: str) -> str:
    try:
        answer = await http.get(path)
    except httpx.HTTPError as error:
        return f"{path} failed ({type(error).__name__})"
    return "" if answer.status_code == 200 else f"{path} answered {answer.status_code}"


async def _model(http: httpx.AsyncClient, expected: str) -> str:
    try:
        answer = await http.get("/v1/models")
    except httpx.HTTPError as error:
        return f"/v1/models failed ({type(error).__name__})"
    if answer.status_code != 200:
        return f"/v1/models answered {answer.status_code}"
    try:
        names = [model["id"] for model in orjson.loads(answer.content)["data"]]
    except (ValueError, KeyError, TypeError):
        return f"/v1/models answered no list of models: {answer.text[:200]}"
    return "" if expected in names else f"/v1/models names {names}, not {expected!r}"
