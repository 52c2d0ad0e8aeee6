"""A conversation with a served model: its history, and one streamed answer at a time."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson

from clients.answers import CHAT
from clients.errors import ProbeFailed
from orchestrator.errors import OrchestratorError

_CONNECT = 10.0  # seconds; an answer may take as long as it takes
_MAX_IMAGE = 32 * 1024 * 1024
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer."""

    kind: Literal["text", "reasoning", "finish"]
    text: str
    """The text; the finish reason of `finish`."""


@dataclass(slots=True)
class Conversation:
    """What was said, and what goes with the next question."""

    system: str = ""
    messages: list[Message] = field(default_factory=list)
    """Without the system prompt."""
    images: list[Message] = field(default_factory=list)
    """Content parts of the next question."""

    def ask(self, text: str) -> None:
        """Add a question, with the images that wait."""
        parts = [{"type": "text", "text": text}, *self.images] if self.images else text
        self.messages.append({"role": "user", "content": parts})
        self.images = []

    def answered(self, text: str) -> None:
        """Add the answer; without any text the question goes too."""
        if text:
            self.messages.append({"role": "assistant", "content": text})
        else:
            self.messages.pop()

    def attach(self, path: Path) -> None:
        """An image for the next question. Raises: OrchestratorError."""
        self.images.append({"type": "image_url", "image_url": {"url": _data_url(path)}})

    def reset(self) -> None:
        """Forget all but the system prompt."""
        self.messages, self.images = [], []

    @property
    def said(self) -> list[Message]:
        """All messages, as they are sent."""
        return [{"role": "system", "content": self.system}, *self.messages] if self.system else list(self.messages)

    def save(self, path: Path) -> None:
        """Write all messages as JSON. Raises: OrchestratorError."""
        try:
            path.write_bytes(orjson.dumps({"messages": self.said}, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise OrchestratorError(f"cannot write {path}: {error.strerror}") from error

    def load(self, path: Path) -> None:
        """Go on with what was saved. Raises: OrchestratorError, the conversation then stays as it is."""
        try:
            messages = orjson.loads(path.read_bytes())["messages"]
            system = [message["content"] for message in messages if message["role"] == "system"]
        except OSError as error:
            raise OrchestratorError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise OrchestratorError(f"{path} holds no conversation", hint="/save writes one") from error
        self.system = "\n".join(system)
        self.messages = [message for message in messages if message["role"] != "system"]


class Model:
    """A model behind an OpenAI-compatible server; `base_url` without `/v1`."""

    def __init__(self, base_url: str, name: str, options: dict[str, Any], api_key: str | None = None) -> None:
        self.name = name
        self._url = base_url + CHAT
        self._options = options
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}

    @contextmanager
    def answer(self, messages: list[Message]) -> Iterator[Iterator[Piece]]:
        """Pieces of the answer as they come; leaving the block stops it.

        Raises: ProbeFailed where the server gives none, or breaks off.
        """
        body = {"model": self.name, "messages": messages, "stream": True, **self._options}
        timeout = httpx.Timeout(None, connect=_CONNECT)
        try:
            with (
                httpx.Client(trust_env=False, timeout=timeout, headers=self._headers) as http,
                http.stream("POST", self._url, json=body) as response,
            ):
                if response.status_code != 200:
                    response.read()
                    raise ProbeFailed(f"HTTP {response.status_code}: {_message(response.content)}")
                yield _pieces(response)
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
            raise ProbeFailed(f"{self._url} broke off: {told}", hint="see the engine's log") from error


def _pieces(response: httpx.Response) -> Iterator[Piece]:
    finished = False
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = orjson.loads(data)
        if event.get("error"):
            raise ProbeFailed(_message(data.encode()))
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {}
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if reasoning:
                yield Piece("reasoning", reasoning)
            if delta.get("content"):
                yield Piece("text", delta["content"])
            if choice.get("finish_reason"):
                finished = True
                yield Piece("finish", choice["finish_reason"])
    if not finished:
        raise ProbeFailed("the answer ended without a finish reason", hint="see the engine's log")


def _message(body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:300]


def _data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path)[0] or ""
    if not kind.startswith("image/"):
        raise OrchestratorError(f"{path} is no image by its name", hint="a .png, .jpg, .webp or .gif")
    try:
        if path.stat().st_size > _MAX_IMAGE:
            raise OrchestratorError(f"{path} is larger than {_MAX_IMAGE >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise OrchestratorError(f"cannot read {path}: {error.strerror}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
