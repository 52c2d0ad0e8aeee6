"""Answers through the rules, on their way to the client."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import orjson

from clients.connection import Headers
from clients.rules.base import AnswerEdit, Json, Reply

_EVENT_END = re.compile(rb"\r?\n\r?\n")


class RuledReply:
    """A reply whose answers pass some rules; `applied` counts each rule once if it changed something."""

    def __init__(self, reply: Reply, edits: Sequence[tuple[str, AnswerEdit]], applied: Counter[str]) -> None:
        self._reply = reply
        self._edits = edits
        self._counts = applied
        self._applied: set[str] = set()
        self._rest = b""
        self._done = False
        self._template: Json = {}
        self._held: tuple[int, Headers, list[bytes]] | None = None
        """A large answer that is no stream: to be changed it must be whole."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """See `Visit`."""
        if status == 200:
            body = self._feed(body) + self._finish() if _is_stream(headers) else self._whole(body)
            self._counts.update(self._applied)
        await self._reply.whole(status, headers, body)

    async def start(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """See `Visit`."""
        if length is None or _is_stream(headers):  # the rules may change the length
            await self._reply.start(status, headers)
        else:
            self._held = (status, headers, [])

    async def piece(self, data: bytes) -> None:
        """See `Visit`; passes on what is known, event by event."""
        if self._held is not None:
            self._held[2].append(data)
            return
        out = self._feed(data)
        if out:
            await self._reply.piece(out)

    async def end(self) -> None:
        """See `Visit`."""
        if self._held is not None:
            status, headers, pieces = self._held
            await self.whole(status, headers, b"".join(pieces))
            return
        out = self._finish()
        self._counts.update(self._applied)
        if out:
            await self._reply.piece(out)
        await self._reply.end()

    def _whole(self, body: bytes) -> bytes:
        answer = orjson.loads(body)
        for name, edit in self._edits:
            if edit.whole(answer):
                self._applied.add(name)
        return orjson.dumps(answer) if self._applied else body

    def _feed(self, data: bytes) -> bytes:
        self._rest += data
        out, at = [], 0
        for end in _EVENT_END.finditer(self._rest):
            out.append(self._event(self._rest[at : end.end()]))
            at = end.end()
        self._rest = self._rest[at:]
        return b"".join(out)

    def _finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        out = self._event(rest) if rest.strip() else rest
        return out + self._last_events()

    def _event(self, raw: bytes) -> bytes:
        lines = [line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:")]
        if lines == [b"[DONE]"]:
            return self._last_events() + raw
        if len(lines) != 1 or not lines[0].startswith(b"{"):
            return raw
        event = orjson.loads(lines[0])
        self._template = self._template or {
            name: value for name, value in event.items() if name not in ("choices", "usage")
        }
        events, changed = [event], False
        for name, edit in self._edits:
            events, touched = self._through(name, edit, events)
            changed = changed or touched
        return b"".join(map(self._encode, events)) if changed else raw

    def _last_events(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        events: list[Json] = []
        for name, edit in self._edits:
            last = edit.end()
            if last:
                self._applied.add(name)
            events = self._through(name, edit, events)[0] + last
        return b"".join(map(self._encode, events))

    def _through(self, name: str, edit: AnswerEdit, events: list[Json]) -> tuple[list[Json], bool]:
        after: list[Json] = []
        touched = False
        for event in events:
            instead = edit.event(event)
            if instead is not None:
                touched = True
                self._applied.add(name)
            after += [event] if instead is None else instead
        return after, touched

    def _encode(self, event: Json) -> bytes:
        return b"data: %b\n\n" % orjson.dumps({**self._template, **event})


def _is_stream(headers: Headers) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)
