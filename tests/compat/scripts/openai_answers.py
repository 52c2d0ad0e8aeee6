"""The openai SDK as its users write it: whole and streamed, chat and text, sync and async, with log-probabilities."""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI, OpenAI

URL = sys.argv[1]


def ask(text: str) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}], "temperature": 0}


def sync() -> dict[str, Any]:
    client = OpenAI(base_url=URL)
    chat = client.chat.completions.create(**ask("question 0"))
    text = client.completions.create(model="fake", prompt=["one", "two"], max_tokens=5)
    likely = client.chat.completions.create(**ask("question 0"), logprobs=True, top_logprobs=2)
    scored = client.completions.create(model="fake", prompt="one", logprobs=1)
    events = list(
        client.chat.completions.create(**ask("question 0"), stream=True, stream_options={"include_usage": True})
    )
    pieces = client.completions.create(model="fake", prompt="one", max_tokens=5, stream=True)
    return {
        "models": [model.id for model in client.models.list()],
        "chat": chat.choices[0].message.content,
        "usage": chat.usage.total_tokens,
        "texts": [choice.text for choice in text.choices],
        "finishes": [choice.finish_reason for choice in text.choices],
        "tokens": [token.token for token in likely.choices[0].logprobs.content],
        "tops": [len(token.top_logprobs) for token in likely.choices[0].logprobs.content],
        "scored": [
            scored.choices[0].text,
            scored.choices[0].logprobs.tokens,
            scored.choices[0].logprobs.token_logprobs,
        ],
        "streamed": "".join(event.choices[0].delta.content or "" for event in events if event.choices),
        "streamed_usage": events[-1].usage.total_tokens,
        "streamed_text": "".join(piece.choices[0].text for piece in pieces),
    }


async def asynchronous() -> dict[str, Any]:
    async with AsyncOpenAI(base_url=URL) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ask(f"question {n}")) for n in range(40)))
        stream = await client.chat.completions.create(**ask("question 0"), stream=True)
        streamed = [event.choices[0].delta.content or "" async for event in stream]
    return {"answers": [answer.choices[0].message.content for answer in answers], "streamed": "".join(streamed)}


print(json.dumps({"sync": sync(), "async": asyncio.run(asynchronous())}))
