"""LangChain's chat model: one answer, a batch, a stream, log-probabilities."""

import json
import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=sys.argv[1], model="fake", temperature=0)
answer = model.invoke([("system", "Be brief."), ("human", "question 0")])
print(
    json.dumps(
        {
            "answer": answer.content,
            "usage": answer.usage_metadata["total_tokens"],
            "batch": [one.content for one in model.batch([f"question {n}" for n in range(8)])],
            "streamed": "".join(chunk.content for chunk in model.stream("question 0")),
            "tokens": len(model.bind(logprobs=True).invoke("question 0").response_metadata["logprobs"]["content"]),
        }
    )
)
