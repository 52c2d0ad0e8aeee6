"""Engines to be probed, and a model folder whose tokenizer counts as the fake engine does: words."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from clients.fidelity import Fidelity, Finding
from clients.fidelity.checks import fidelity
from tests.clients.scripted_engine import Asked, Behaviour, free_port, raw

PLAIN = "{% for message in messages %}{{ message['content'] }}{{ '\\n' }}{% endfor %}"


@contextlib.asynccontextmanager
async def fake_engine(*flags: str) -> AsyncIterator[str]:
    """URL of a fake engine in a process of its own, which ends with the block."""
    port = free_port()
    argv = [sys.executable, "-m", "orchestrator.fake_engine", "--port", str(port), *flags]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(15):
            while not await _listens(url):  # noqa: ASYNC110 - another process, not an event
                await asyncio.sleep(0.02)
        yield url
    finally:
        process.kill()
        await process.wait()


def word_model(folder: Path, template: str = PLAIN, *, bos: bool = False, config: dict[str, Any] | None = None) -> Path:
    """A model's folder; with `bos` its tokenizer puts `<s>` before a plain text."""
    folder.mkdir(exist_ok=True)
    encoder = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1}, unk_token="<unk>"))
    encoder.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        encoder.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    encoder.save(str(folder / "tokenizer.json"))
    told = {"bos_token": "<s>"} if bos else {}
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({**told, "chat_template": template, **(config or {})}))
    return folder


async def probed(url: str, folder: Path | None = None, **more: Any) -> Fidelity:
    return await fidelity(url, model="fake", tokenizer=folder, **more)


def finding(checked: Fidelity, name: str) -> Finding:
    return next(one for one in checked.findings if one.name == name)


def saying(text_for: Callable[[dict[str, Any]], str | int]) -> Behaviour:
    """An engine whose text depends on the body of the request, word by word; a number is a status instead."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        said = text_for(asked.json) if asked.body else 404
        said = " ".join(said.split()[: asked.json["max_tokens"]]) if isinstance(said, str) else said
        body = {"choices": [{"message": {"content": said}, "text": said, "finish_reason": "length"}]}
        status = said if isinstance(said, int) else 200
        await raw(status, orjson.dumps({"detail": "no"} if status != 200 else body))(asked, writer)

    return answer


async def _listens(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        try:
            return (await http.get(f"{url}/health")).status_code == 200
        except httpx.HTTPError:
            return False
