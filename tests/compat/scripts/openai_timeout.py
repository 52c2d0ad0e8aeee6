"""A chat that takes longer than its user waits."""

import json
import sys

from openai import APITimeoutError, OpenAI

try:
    OpenAI(base_url=sys.argv[1], timeout=0.5, max_retries=0).chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "hello"}]
    )
except APITimeoutError as error:
    print(json.dumps({"type": type(error).__name__}))
