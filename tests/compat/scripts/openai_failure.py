"""One chat with the SDK's own retries left as they are (two); prints what its user meets."""

import json
import sys

from openai import APIStatusError, OpenAI

try:
    OpenAI(base_url=sys.argv[1]).chat.completions.create(model="fake", messages=[{"role": "user", "content": "hello"}])
except APIStatusError as error:
    print(json.dumps({"type": type(error).__name__, "status": error.status_code, "body": error.body}))
