"""One request that is measured: a completion, whole or streamed, and the moment at which each token came.

Raw over `clients.upstream`: a chunk costs about 10 us of our processor time, where httpx costs 170.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from clients.connection import Headers, UpstreamResponse
from clients.errors import UpstreamError
from clients.upstream import Upstream

PATH = "/v1/completions"
clock = time.perf_counter
"""Seconds. Not the event loop's time: uvloop's goes in steps of a millisecond."""
SILENCE = 3600.0
"""Seconds without a byte after which a request is given up; the gateway gives up sooner."""
HEADERS: Headers = [
    (b"content-type", b"application/json"),
    # Neither replayed nor kept: what is measured is asked for.
    (b"x-orchestrator-journal", b"off"),
]

Fields = Callable[[int], dict[str, Any]]
"""Request fields that make the engine generate so many tokens."""
Counted = Literal["usage", "finish_reason", "events"]
Read = Callable[[UpstreamResponse, "Timing"], Awaitable[None]]
"""Reads an answer into a timing."""


@dataclass(slots=True)
class Timing:
    """What became of one request; times are in seconds of `clock`."""

    began: float
    wanted: int
    """Tokens to generate."""
    ended: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    """When each piece of text came; of a whole answer only its end."""
    usage: tuple[int, int] | None = None
    """Prompt and generated tokens, as the engine counts."""
    finish: str | None = None
    failed: str | None = None
    """Why there is no whole answer."""

    @property
    def counted_by(self) -> Counted:
        """How `generated` is known."""
        if self.usage and self.usage[1]:
            return "usage"
        return "finish_reason" if self.finish == "length" else "events"

    @property
    def generated(self) -> int:
        """Tokens that came."""
        if self.usage and self.usage[1]:
            return self.usage[1]
        return self.wanted if self.finish == "length" else len(self.arrivals)

    @property
    def latency(self) -> float:
        """Seconds until the last token."""
        return (self.arrivals[-1] if self.arrivals else self.ended) - self.began

    @property
    def ttft(self) -> float:
        """Seconds until the first token."""
        return self.arrivals[0] - self.began

    @property
    def decode_seconds(self) -> float:
        """Seconds from the first token to the last."""
        return self.arrivals[-1] - self.arrivals[0]

    @property
    def inter_token(self) -> float | None:
        """Mean seconds between two tokens; None with fewer than two."""
        return self.decode_seconds / (self.generated - 1) if self.generated > 1 else None


class Client:
    """Asks one server, with as many connections as requests in flight."""

    def __init__(self, host: str, port: int, model: str, fields: Fields) -> None:
        self._upstream = Upstream(host, port)
        self._model = model
        self._fields = fields

    async def stream(self, prompt: str, output: int) -> Timing:
        """One completion of `output` tokens, token by token; whatever goes wrong is in the timing."""
        timing = await self._ask(
            prompt, output, {"stream": True, "stream_options": {"include_usage": True}}, _read_events
        )
        if not timing.failed and not (timing.arrivals and timing.finish):
            timing.failed = "empty_answer" if timing.finish else "cut"
        return timing

    async def whole(self, prompt: str, output: int) -> Timing:
        """One completion of `output` tokens, answered at once: what streaming costs an engine is not in its time."""
        timing = await self._ask(prompt, output, {}, _read_whole)
        timing.arrivals = [timing.ended]
        return timing

    async def _ask(self, prompt: str, output: int, how: dict[str, Any], read: Read) -> Timing:
        asked = {"model": self._model, "prompt": prompt, "max_tokens": output, "temperature": 0}
        body = orjson.dumps({**asked, **how, **self._fields(output)})
        timing = Timing(clock(), output)
        try:
            response = await self._upstream.send("POST", PATH, HEADERS, body, timeout=SILENCE)
            try:
                if response.status == 200:
                    await read(response, timing)
                else:
                    timing.failed = f"http_{response.status}"
                    await response.read()
            finally:
                response.abort()
        except UpstreamError as error:
            timing.failed = error.cause
        timing.ended = clock()
        return timing

    def close(self) -> None:
        """Close the connections."""
        self._upstream.close()


async def _read_whole(response: UpstreamResponse, timing: Timing) -> None:
    _take(orjson.loads(await response.read()), timing)


async def _read_events(response: UpstreamResponse, timing: Timing) -> None:
    """Server-sent events, cut anywhere."""
    if not response.header(b"content-type").startswith(b"text/event-stream"):
        timing.failed = "not_a_stream"
        await response.read()
        return
    rest = b""
    async for data in response:
        now = clock()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and (text := line[5:].strip()) != b"[DONE]":
                timing.arrivals.extend([now] * _take(orjson.loads(text), timing))


def _take(answer: dict[str, Any], timing: Timing) -> int:
    """Note what an answer, or an event of one, says; how many pieces of text it holds."""
    if answer.get("error"):
        timing.failed = "error_body"
    if usage := answer.get("usage"):
        timing.usage = (usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)
    pieces = 0
    for choice in answer.get("choices") or ():
        finish = choice.get("finish_reason")
        # An engine may hold a piece of a character back: an event without text is a token all the same.
        pieces += bool(choice.get("text") or not finish)
        timing.finish = finish or timing.finish
    return pieces
