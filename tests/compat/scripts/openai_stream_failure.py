"""A stream that breaks in its middle; prints what its user meets."""

import json
import sys

from openai import OpenAI

said = ""
try:
    for event in OpenAI(base_url=sys.argv[1]).chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "hello"}], stream=True
    ):
        said += event.choices[0].delta.content or ""
except Exception as error:  # noqa: BLE001 - which one it is, is the question
    print(json.dumps({"type": type(error).__name__, "said": said}))
