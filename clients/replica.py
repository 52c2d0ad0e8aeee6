"""One running engine as the pool sees it."""

from __future__ import annotations

from typing import Literal

from clients.breaker import Breaker
from clients.connection import Headers
from clients.upstream import Upstream

State = Literal["starting", "ready", "unhealthy", "dead"]


class Replica:
    """An engine that serves, or will serve, the job's model.

    `model` is the name that this engine expects in a request (None: whatever the request says), `api_key`
    what it wants as bearer token, `headers` are added to every request, `weight` (above 0) is its share of the
    load beside others. The state is the pool's to change.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        model: str | None = None,
        api_key: str | None = None,
        headers: Headers | None = None,
        weight: float = 1.0,
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.model = model
        self.weight = weight
        self.headers: Headers = list(headers or [])
        if api_key:
            self.headers.append((b"authorization", b"Bearer " + api_key.encode()))
        self.upstream = Upstream(host, port)
        self.state: State = "starting"
        self.reason = ""
        """Why it is unhealthy or dead."""
        self.breaker = Breaker()
        self.watched = False
        """Somebody watches whether it lives, and marks it dead if it does not."""
        self.generated_at = float("-inf")
        """Monotonic time, in seconds, of the last generation that the watcher got."""
        self.in_flight = 0
        self.served = 0
        """Requests ever given to it."""
        self.losses = 0
        """How often it was marked dead."""
        self.restarts = 0
        """How often it was started again."""
        self.last_error = ""
        """Why the last attempt that failed did so."""

    @property
    def base_url(self) -> str:
        """`http://host:port`, without a trailing slash."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def last_success(self) -> float:
        """Monotonic time, in seconds, of the last sign of life: a byte of any answer, a generation; -inf before it."""
        return max(self.upstream.last_byte, self.generated_at)
