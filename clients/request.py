"""A request of the evaluator, read once."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from clients.connection import Headers

ON_FAILURE = b"x-orchestrator-on-failure"
JOURNAL = b"x-orchestrator-journal"

# Hop-by-hop (RFC 9110 7.6.1), rewritten here, or meant for us: none of them may reach the engine. Without
# `accept-encoding` the answer comes uncompressed, so that it can be judged and journaled as it is.
_NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade host content-length expect accept-encoding authorization".split()
)
_NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-connection trailer transfer-encoding upgrade"
    b" content-length".split()
)


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What the evaluator asks of an engine."""

    path: str
    target: str
    """Path and query, as they came."""
    headers: Headers
    """Those that are passed on."""
    body: bytes
    json: dict[str, Any] | None
    """The body, if it is a JSON object."""
    key: str
    """A hash of the target and the canonical body: what makes two requests the same."""
    marked: bool
    """The client wants a failure as a marked answer, not as an error."""
    journaled: bool = True
    """Answered from the journal and kept there; False for what is asked to see how long it takes."""

    @property
    def streaming(self) -> bool:
        """The client asked for server-sent events."""
        return self.json is not None and self.json.get("stream") is True


def read_request(path: str, target: str, headers: Headers, body: bytes) -> InferenceRequest:
    """Parse what must be known of a request; what is no JSON object is left to the engine to refuse."""
    try:
        json = orjson.loads(body)
        canonical = orjson.dumps(json, option=orjson.OPT_SORT_KEYS)
    except ValueError:
        json, canonical = None, body
    return InferenceRequest(
        path=path,
        target=target,
        headers=[
            (name, value)
            for name, value in headers
            if name not in _NOT_FORWARDED and not name.startswith(b"x-orchestrator-")
        ],
        body=body,
        json=json if isinstance(json, dict) else None,
        key=blake2b(target.encode("latin-1") + b"\0" + canonical, digest_size=16).hexdigest(),
        marked=any(name == ON_FAILURE and value == b"mark" for name, value in headers),
        journaled=not any(name == JOURNAL and value == b"off" for name, value in headers),
    )


def returned_headers(headers: Headers) -> Headers:
    """The engine's headers that the evaluator gets too."""
    return [header for header in headers if header[0] not in _NOT_RETURNED]
