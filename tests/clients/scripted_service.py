"""An HTTP server that answers as it is told, request by request: what breaks between a client and the service."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """`cut`: the connection is closed after the body, which promised more; without a status before anything."""

    status: int | None = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0


LOST = Answer(status=None)


def document(content: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


def problem(status: int, code: str, detail: str = "no", **headers: str) -> Answer:
    told = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code, "hint": "try"}
    return document({**told, "errors": [{"path": "serve.engine", "message": "wrong"}]}, status, **headers)


@dataclass
class Scripted:
    """What was asked so far."""

    url: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def headers(self, name: str) -> list[str | None]:
        return [headers.get(name) for _, _, headers in self.requests]


@contextlib.contextmanager
def scripted(answers: Sequence[Answer]) -> Iterator[Scripted]:
    """Gives these answers one after the other, the last one for ever."""
    left = list(answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    told = Scripted(f"http://127.0.0.1:{server.server_address[1]}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            told.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            told.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            answer = left.pop(0) if len(left) > 1 else left[0]
            self.close_connection = answer.cut or answer.status is None
            if answer.status is None:
                return
            time.sleep(answer.delay)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + (1 if answer.cut else 0)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - names of the library

        def log_message(self, *args: Any) -> None:
            pass

    server.RequestHandlerClass = Handler
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
