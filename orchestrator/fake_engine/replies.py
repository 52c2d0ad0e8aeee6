"""The three forms of a generation over HTTP: chat and text completions of OpenAI, `/generate` of LightLLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from orchestrator.fake_engine.answers import Limits, Text, tokens_of
from orchestrator.fake_engine.logprobs import chat_logprobs, text_logprobs

Form = Literal["chat", "text", "generate"]
FORMS: dict[str, Form] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text",
    "/generate": "generate",
}


class RequestError(Exception):
    """The request cannot be answered; `status` is the HTTP status, the message what is wrong."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """What a generation request asks for."""

    form: Form
    prompts: tuple[str, ...]
    """One text each; the chat form always has one."""
    limits: Limits
    copies: int = 1
    """Choices per prompt (`n`)."""
    stream: bool = False
    stream_usage: bool = False
    """Whether the stream ends with a chunk that holds the usage."""
    logprobs: int | None = None
    """Candidates per token whose log-probabilities are wanted besides the token's own; None: not even that."""
    echo: bool = False
    """Text form: the prompt comes back before the answer, and so do its log-probabilities."""


def read_request(form: Form, body: bytes, model: str, *, logprobs: bool = False) -> Asked:
    """Read a request's body; `logprobs`: it may ask for them.

    Raises: RequestError.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise RequestError("the body is not a JSON object")
    try:
        return _generate(asked) if form == "generate" else _openai(form, asked, model, logprobs)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RequestError(f"the request cannot be read: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Generated:
    """What was generated for a request."""

    asked: Asked
    texts: tuple[Text, ...]
    """One per choice."""
    prompt_tokens: int
    model: str
    number: int
    """Which generation this is, from 1."""


def reply(done: Generated) -> dict[str, Any]:
    """The whole answer, as data."""
    if done.asked.form == "generate":
        return {
            "generated_text": [text.whole for text in done.texts],
            "count_output_tokens": sum(len(text.tokens) for text in done.texts),
            "finish_reason": done.texts[0].finish_reason,
            "prompt_tokens": done.prompt_tokens,
        }
    choices = [
        {
            "index": index,
            "finish_reason": text.finish_reason,
            "logprobs": _logprobs(done.asked, text.tokens, echoed=echoed),
        }
        | _content(done.asked.form, "message", echoed + text.whole)
        for index, (text, echoed) in enumerate(zip(done.texts, _echoes(done.asked), strict=True))
    ]
    return {**_head(done), "choices": choices, "usage": usage(done)}


def chunks(done: Generated) -> Iterator[tuple[bool, bytes]]:
    """The answer as server-sent events: (whether it is a token, the event)."""
    form, head = done.asked.form, _head(done, ".chunk")
    for index, text in enumerate(done.texts):
        if form == "chat":
            yield False, _event(head, index, {"delta": {"role": "assistant", "content": ""}})
        offset = 0
        for token in text.tokens:
            logprobs = _logprobs(done.asked, [token], offset)
            offset += len(token)
            content = _content(form, "delta", token)
            yield True, _event(head, index, content | {"logprobs": logprobs} if logprobs else content)
        last: dict[str, Any] = {"delta": {}} if form == "chat" else {"text": ""}
        yield False, _event(head, index, last, text.finish_reason)
    if done.asked.stream_usage:
        yield False, event({**head, "choices": [], "usage": usage(done)})
    yield False, b"data: [DONE]\n\n"


def usage(done: Generated) -> dict[str, int]:
    """Token counts in OpenAI's form."""
    generated = sum(len(text.tokens) for text in done.texts)
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": generated,
        "total_tokens": done.prompt_tokens + generated,
    }


def error_body(message: str, status: int) -> dict[str, Any]:
    """OpenAI's error envelope."""
    return {"error": {"message": message, "type": "fake_error", "param": None, "code": status}}


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _openai(form: Form, asked: dict[str, Any], model: str, logprobs: bool) -> Asked:
    if asked.get("model", model) != model:
        raise RequestError(f"the model {asked['model']!r} does not exist; this server has {model!r}", 404)
    if refused := _refused(form, asked, logprobs):
        raise RequestError(f"a fake engine has no {', '.join(refused)}")
    most = asked.get("max_completion_tokens")
    return Asked(
        form=form,
        prompts=(_chat_prompt(asked["messages"]),) if form == "chat" else _prompts(asked["prompt"]),
        limits=_limits(asked, asked.get("max_tokens") if most is None else most, asked.get("stop")),
        copies=int(asked.get("n") or 1),
        stream=bool(asked.get("stream")),
        stream_usage=bool((asked.get("stream_options") or {}).get("include_usage")),
        logprobs=_candidates_wanted(form, asked),
        echo=form == "text" and bool(asked.get("echo")),
    )


def _refused(form: Form, asked: dict[str, Any], logprobs: bool) -> list[str]:
    """Options that this engine does not have and that change something."""
    able = {"logprobs"} if logprobs else set()
    if logprobs and form == "text" and not asked.get("stream"):
        able.add("echo")
    return [name for name in ("logprobs", "echo", "prompt_logprobs") if asked.get(name) and name not in able]


def _candidates_wanted(form: Form, asked: dict[str, Any]) -> int | None:
    wanted = asked.get("logprobs")
    if form == "chat":
        return int(asked.get("top_logprobs") or 0) if wanted else None
    return None if wanted is None else int(wanted)


def _echoes(asked: Asked) -> list[str]:
    """What stands before each choice: its prompt, or nothing."""
    return [prompt if asked.echo else "" for prompt in asked.prompts for _ in range(asked.copies)]


def _logprobs(asked: Asked, tokens: Sequence[str], offset: int = 0, echoed: str = "") -> dict[str, Any] | None:
    if asked.logprobs is None:
        return None
    if asked.form == "chat":
        return chat_logprobs(tokens, asked.logprobs)
    scores = text_logprobs([*tokens_of(echoed), *tokens], asked.logprobs, offset)
    if echoed:
        scores["token_logprobs"][0] = None  # nothing comes before it
        scores["top_logprobs"] = scores["top_logprobs"] and [None, *scores["top_logprobs"][1:]]
    return scores


def _generate(asked: dict[str, Any]) -> Asked:
    wanted = asked["parameters"]
    limits = _limits(wanted, wanted.get("max_new_tokens"), wanted.get("stop_sequences"))
    return Asked(form="generate", prompts=_prompts(asked["inputs"]), limits=limits)


def _limits(asked: dict[str, Any], most: int | None, stop: str | list[str] | None) -> Limits:
    stops = (stop,) if isinstance(stop, str) else tuple(map(str, stop or ()))
    return Limits(None if most is None else int(most), stops, bool(asked.get("ignore_eos")))


def _chat_prompt(messages: list[dict[str, Any]]) -> str:
    """All turns as one text; only the text parts of a turn count."""
    return "\n".join(_turn(message.get("content") or "") for message in messages)


def _turn(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _prompts(prompt: str | list[Any]) -> tuple[str, ...]:
    """Text, list of texts, token ids or list of token ids; ids are read as words."""
    if isinstance(prompt, str):
        return (prompt,)
    if prompt and isinstance(prompt[0], int):
        return (" ".join(map(str, prompt)),)
    return tuple(one if isinstance(one, str) else " ".join(map(str, one)) for one in prompt) or ("",)


def _head(done: Generated, suffix: str = "") -> dict[str, Any]:
    kind = f"chat.completion{suffix}" if done.asked.form == "chat" else "text_completion"
    return {"id": f"fake-{done.number}", "object": kind, "created": 0, "model": done.model}


def _content(form: Form, key: str, text: str) -> dict[str, Any]:
    if form != "chat":
        return {"text": text}
    return {key: {"role": "assistant", "content": text} if key == "message" else {"content": text}}


def _event(head: dict[str, Any], index: int, content: dict[str, Any], finish: str | None = None) -> bytes:
    return event({**head, "choices": [{"index": index, "finish_reason": finish, **content}]})
