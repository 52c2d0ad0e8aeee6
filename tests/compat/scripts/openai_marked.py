"""A failure as a marked answer, as evaluators ask for it."""

import json
import sys

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1], default_headers={"x-orchestrator-on-failure": "mark"})
chat = client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "hello"}], n=2)
text = client.completions.create(model="fake", prompt=["one", "two"])
print(
    json.dumps(
        {
            "chat": [choice.message.content for choice in chat.choices],
            "texts": [choice.text for choice in text.choices],
            "finishes": [choice.finish_reason for choice in chat.choices],
        }
    )
)
