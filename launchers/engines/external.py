"""Engine `external`: a server that runs already and is not ours to start or stop."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from launchers.engine import Engine, Launch, Place, Readiness, Refusal
from launchers.errors import SpecRefused
from launchers.flags import Flags
from launchers.spec import ServeSpec


class ExternalEngine(Engine):
    """Talks to `url`; starts nothing, leases nothing, stops nothing."""

    name: ClassVar[str] = "external"
    honours: ClassVar[frozenset[str]] = frozenset({"url"})
    needs_gpu: ClassVar[bool] = False
    readiness: ClassVar[Readiness] = Readiness(health_path=None, lists_model=False)

    def refusals(self, spec: ServeSpec, flags: Flags | None = None) -> list[Refusal]:
        """Also refuses a missing or malformed URL, and fields that only a server of ours can honour."""
        problems = super().refusals(spec, flags)
        if spec.url is None:
            problems.append(Refusal("url", "engine `external` needs the URL of the running server"))
        else:
            problems.extend(_bad_url(spec.url))
        for name, unset in (
            ("port", None),
            ("gpus", None),
            ("env", {}),
            ("replicas", 1),
            ("host", "127.0.0.1"),
            ("max_restarts", 3),
        ):
            if getattr(spec, name) != unset:
                problems.append(Refusal(name, "an external server is not started by us, so this has no effect"))
        return problems

    def gpus_needed(self, spec: ServeSpec, available: int) -> int:
        """None: its GPUs are not ours."""
        return 0

    def launch(self, spec: ServeSpec, place: Place) -> Launch:
        """Nothing to start.

        Raises: SpecRefused, always: the caller must not start an external server.
        """
        raise SpecRefused("an external server is not started by us")


def _bad_url(url: str) -> list[Refusal]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return [Refusal("url", f"{url!r} is not of the form http://host:port")]
    return []
