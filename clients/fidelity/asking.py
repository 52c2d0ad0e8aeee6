"""One engine, asked in the form of its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import orjson

from clients.answers import judge
from clients.fidelity.prompts import MAX_TOKENS
from clients.probe import PATHS, request_body, text_of

Form = Literal["chat", "completions", "generate"]
NO_ROUTE = (404, 405)
_EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    cause: str | None
    """Why it is no answer (see `clients.answers`); None when it is one."""
    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    body: Any
    """The JSON of the answer; None when it is none."""
    excerpt: str
    """What an error says, or the beginning of the body, for messages."""

    @property
    def refused(self) -> bool:
        """Whether the server refused the request itself."""
        return 400 <= self.status < 500


@dataclass(frozen=True, slots=True)
class Asker:
    """An engine at `base_url` (without `/v1`) and how it is asked."""

    http: httpx.AsyncClient
    base_url: str
    model: str
    form: Form
    sampling: Mapping[str, Any]
    """Fields sent with every request, beside temperature 0."""

    async def ask(
        self, prompt: str, *, form: Form | None = None, max_tokens: int = MAX_TOKENS, **fields: Any
    ) -> Answer:
        """Ask for a generation, greedily unless `fields` say otherwise. Raises: httpx.HTTPError."""
        form = form or self.form
        wanted = {**self.sampling, **fields}
        body = request_body(form, self.model, prompt, max_tokens, _lightllm(wanted) if form == "generate" else wanted)
        return await self.post(form, body)

    async def post(self, form: Form, body: Mapping[str, Any]) -> Answer:
        """Send a body as it is. Raises: httpx.HTTPError."""
        return _read(form, body, await self.http.post(self.base_url + PATHS[form], json=body))


def _lightllm(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same wishes in the words of `/generate`."""
    renamed = {"stop_sequences" if name == "stop" else name: value for name, value in fields.items()}
    return {**renamed, "do_sample": True} if renamed.get("temperature", 0.0) > 0 else renamed


def _read(form: Form, request: Mapping[str, Any], reply: httpx.Response) -> Answer:
    verdict = judge(PATHS[form], request, reply.status_code, reply.content)
    body = _json(reply.content)
    try:
        text, finish_reason = text_of(form, body)
    except (AttributeError, KeyError, IndexError, TypeError):
        text, finish_reason = "", None
    prompt, completion = verdict.tokens or (None, None)
    return Answer(
        reply.status_code,
        verdict.cause,
        text or "",
        finish_reason,
        prompt,
        completion,
        body,
        _excerpt(body, reply.text),
    )


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _excerpt(body: Any, text: str) -> str:
    found = body.get("error") or body.get("detail") or body.get("message") if isinstance(body, dict) else None
    found = found.get("message") if isinstance(found, dict) else found
    return " ".join((found if isinstance(found, str) else text).split())[:_EXCERPT]
