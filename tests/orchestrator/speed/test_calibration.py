"""Getting to know an engine before it is measured, on one that counts in ways of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestrator.evaluators.speed.calibration import calibrate
from orchestrator.evaluators.speed.prompts import PromptMaker
from orchestrator.evaluators.speed.served import ServedReplica


@contextmanager
def counting(usage: dict[str, Any] | None) -> Iterator[ServedReplica]:
    """An engine whose answers all have this usage."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"choices": [{"text": " a", "finish_reason": "stop"}], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ServedReplica(f"http://127.0.0.1:{server.server_port}", None)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("usage", [None, {"completion_tokens": 3}, {"prompt_tokens": 7, "completion_tokens": 3}])
async def test_an_engine_that_does_not_count_prompts_gets_a_token_a_word(usage: dict[str, Any] | None) -> None:
    with counting(usage) as replica:
        known = await calibrate(replica, "m", PromptMaker.of(None, seed=0))
    assert len(known.maker.make(40).split()) == 40
    assert "the engine does not count prompt tokens" in known.notes
    assert known.full_length is None
