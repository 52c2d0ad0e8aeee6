"""The fake engine while it serves: routes, slots, pace, faults and counters."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson

from orchestrator.fake_engine.answers import AnswerBook, Text, limited, made_up, tokens_of
from orchestrator.fake_engine.connection import Connection, Request
from orchestrator.fake_engine.faults import Fault, Lies, Options, fault_of
from orchestrator.fake_engine.prefixes import PrefixCache
from orchestrator.fake_engine.replies import (
    FORMS,
    Asked,
    Form,
    Generated,
    RequestError,
    chunks,
    error_body,
    event,
    read_request,
    reply,
)
from orchestrator.fake_engine.timings import Timings

_MASKED = error_body("a fake failure with status 200", 500)


class FakeEngine:
    """Answers requests. `loaded` is set from outside, when loading is over."""

    def __init__(self, options: Options, book: AnswerBook) -> None:
        self.loaded = asyncio.Event()
        self._options = options
        self._book = book
        self._slots = asyncio.Semaphore(options.pace.slots)
        self._asked = self._waiting = self._running = self._prompt_tokens = self._generated_tokens = 0
        self._met: Counter[str] = Counter()
        self._prefixes = PrefixCache(options.pace.prefix_cache)
        self._timings = Timings(options.timings) if options.timings else None

    def handle(self, request: Request, connection: Connection) -> Coroutine[None, None, None] | None:
        """Answer at once, or return the coroutine that will."""
        form = FORMS.get(request.path)
        if form is not None and request.method == "POST":
            return self._generation(form, request.body, connection)
        if request.path == "/metrics":
            connection.answer(200, self._metrics().encode(), "text/plain; version=0.0.4")
        else:
            _send(connection, *self._control(request.path))
        return None

    def _control(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of everything that is neither a generation nor `/metrics`."""
        if path in FORMS:
            return 405, error_body(f"{path} takes POST", 405)
        if path not in ("/health", "/v1/models"):
            return 404, error_body(f"no such path: {path}", 404)
        if not self.loaded.is_set() and self._options.startup.health_early is None:
            return 503, {"status": "loading"}
        if path == "/health":
            return 200, {"status": "ok"}
        card: dict[str, Any] = {"id": self._options.model, "object": "model", "created": 0, "owned_by": "fake"}
        if self._options.lies.max_model_len is not None:
            card["max_model_len"] = self._options.lies.max_model_len
        return 200, {"object": "list", "data": [card]}

    async def _generation(self, form: Form, body: bytes, connection: Connection) -> None:
        if not self.loaded.is_set() and self._options.startup.health_early != "hang":
            _send(connection, 503, error_body("the model is still loading", 503))
            return
        await self.loaded.wait()
        try:
            asked = read_request(form, body, self._options.model, logprobs=self._options.logprobs)
            self._check_length(asked)
        except RequestError as error:
            _send(connection, error.status, error_body(str(error), error.status))
            return
        fault = self._count(asked)
        number = self._asked
        async with self._slot():
            await self._serve(asked, fault, number, connection)

    def _check_length(self, asked: Asked) -> None:
        most = self._options.lies.max_model_len
        longest = max(self._tokens_in(prompt) for prompt in asked.prompts)
        if most is not None and longest > most and not self._options.lies.answer_overlong:
            raise RequestError(f"this model's maximum context length is {most} tokens, the prompt has {longest}")

    def _tokens_in(self, prompt: str) -> int:
        return len(tokens_of(prompt)) + self._options.lies.extra_bos

    def _count(self, asked: Asked) -> Fault | None:
        """Number the generation and say which fault it meets."""
        self._asked += 1
        faults = self._options.faults
        fault = fault_of(faults, self._options.seed, self._asked, "\n".join(asked.prompts))
        self._met[fault or "none"] += 1
        if fault is Fault.CRASH:
            crash(faults.crash_signal)
        return fault

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Wait for a free slot and hold it."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._slots.release()

    async def _serve(self, asked: Asked, fault: Fault | None, number: int, connection: Connection) -> None:
        """Generate one answer, or the fault instead of it."""
        if fault is Fault.HANG:
            await asyncio.Event().wait()
        delay = self._options.pace.delay(self._options.seed, number) * self._prefixes.share(asked.prompts)
        if delay:
            await asyncio.sleep(delay)
        if fault is Fault.RESET:
            connection.reset()
        elif fault is Fault.ERROR:
            status = self._options.faults.error_status
            _send(connection, status, error_body("a fake failure", status))
        else:
            done = self._generate(asked, fault, number)
            await (self._stream if asked.stream else self._whole)(done, fault, connection)

    def _generate(self, asked: Asked, fault: Fault | None, number: int) -> Generated:
        texts = tuple(_spoilt(text, fault) for text in self._texts(asked, number))
        prompt_tokens = sum(map(self._tokens_in, asked.prompts))
        self._prompt_tokens += prompt_tokens
        self._generated_tokens += sum(len(text.tokens) for text in texts)
        return Generated(asked, texts, prompt_tokens, self._options.model, number)

    def _texts(self, asked: Asked, number: int) -> list[Text]:
        """One text for each copy of each prompt."""
        texts, lies = [], self._options.lies
        limits = replace(asked.limits, keep_stop=lies.keep_stop)
        limits = replace(limits, stop=_heeded(limits.stop, lies))
        limits = replace(limits, max_tokens=None) if lies.ignore_max_tokens else limits
        for prompt in asked.prompts:
            known = self._book.find(prompt)
            whole = made_up(prompt) if known is None else known
            text = limited(f"Attempt {number}: {whole}" if lies.nondeterministic else whole, limits)
            texts += [text] * asked.copies
        return texts

    async def _whole(self, done: Generated, fault: Fault | None, connection: Connection) -> None:
        pace = self._options.pace.tokens_per_second
        if pace:
            await asyncio.sleep(max(len(text.tokens) for text in done.texts) / pace)
        self._note(done, connection, [time.monotonic()])
        if fault is Fault.TRUNCATE:
            connection.cut(200, orjson.dumps(reply(done)))
        elif fault is Fault.ERROR_BODY:
            _send(connection, 200, _MASKED)
        else:
            _send(connection, 200, reply(done))

    async def _stream(self, done: Generated, fault: Fault | None, connection: Connection) -> None:
        pace = self._options.pace.tokens_per_second
        events = [(False, event(_MASKED))] if fault is Fault.ERROR_BODY else list(chunks(done))
        if fault is Fault.TRUNCATE:
            events = events[: len(events) // 2]
        clock = asyncio.get_running_loop().time
        due = clock()
        left = []
        for is_token, chunk in events:
            if pace and is_token:
                due += 1 / pace  # by the clock: what a sleep is too long for does not add up
                await asyncio.sleep(max(0.0, due - clock()))
            if is_token:
                left.append(time.monotonic())  # just before: the client may run before the call is over
            connection.stream(chunk)
        self._note(done, connection, left)
        if fault is Fault.TRUNCATE:
            connection.close()
        else:
            connection.stream(b"")

    def _note(self, done: Generated, connection: Connection, tokens: list[float]) -> None:
        if self._timings:
            self._timings.note(done.number, connection.arrived, tokens)

    def _metrics(self) -> str:
        """The counters in Prometheus' text form."""
        model = self._options.model.replace("\\", "\\\\").replace('"', '\\"')
        gauges = {"num_requests_running": self._running, "num_requests_waiting": self._waiting}
        totals = {
            "requests_total": self._asked,
            "prompt_tokens_total": self._prompt_tokens,
            "generation_tokens_total": self._generated_tokens,
            "prefix_hits_total": self._prefixes.hits,
            "prefix_misses_total": self._prefixes.misses,
        }
        kinds = [("gauge", gauges), ("counter", totals)]
        lines = [
            f'# TYPE fake:{name} {kind}\nfake:{name}{{model_name="{model}"}} {value}'
            for kind, values in kinds
            for name, value in values.items()
        ]
        lines.append("# TYPE fake:faults_total counter")
        lines += [f'fake:faults_total{{model_name="{model}",fault="{fault}"}} {n}' for fault, n in self._met.items()]
        return "\n".join(lines) + "\n"


def crash(signal_number: int | None) -> None:
    """End this process at once, leaving its workers behind, as a crash does."""
    print("FAKE engine: crashing, as asked", file=sys.stderr, flush=True)
    if signal_number is not None:
        os.kill(os.getpid(), signal_number)
    os._exit(1)


def _heeded(stops: tuple[str, ...], lies: Lies) -> tuple[str, ...]:
    """The stop strings that end a text."""
    if lies.ignore_stop:
        return ()
    return tuple(stop for stop in stops if not lies.one_token_stops or len(tokens_of(stop)) == 1)


def _spoilt(text: Text, fault: Fault | None) -> Text:
    if fault is Fault.EMPTY:
        return replace(text, tokens=())
    if fault is Fault.FINISH_ERROR:
        return Text(text.tokens[: len(text.tokens) // 2], "error")
    return text


def _send(connection: Connection, status: int, data: dict[str, Any]) -> None:
    connection.answer(status, orjson.dumps(data))
