"""What the scheduler sees and what it says: one frozen moment in, one decision out.

Times are seconds since the epoch, GPUs are indices of the inventory. Nothing here changes, and nothing here is read
from a clock, a file or a socket: the same snapshot always gives the same decision, whatever the order of its tuples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job."""

    id: str
    priority: int
    """Higher goes first."""
    order: int
    """Its number among all submissions: each submission counts one more than the last. Unique."""
    gpus: int
    """GPUs that it needs; 0 for none (an external server, an engine on the processor)."""
    explicit: tuple[int, ...] | None
    """Exactly these GPUs, then `gpus` is their number; None: any."""
    serve_key: str
    """Hash of what is served (and compressed): where it is equal, one server can serve both."""
    expected_seconds: float | None = None
    """What such a job held its GPUs for before; None: unknown."""
    not_before: float = 0.0
    """It starts no earlier: the pause after a lost attempt."""


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that runs, with the GPUs that it still holds: none once it only scores, or uses a deployment."""

    id: str
    gpus: tuple[int, ...]
    serve_key: str
    expected_end: float | None = None
    """When its GPUs come back; None: unknown."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A served model that jobs may use instead of serving one themselves."""

    id: str
    serve_key: str
    gpus: tuple[int, ...]
    ready: bool
    """It answers. One with `idle_until` that is not ready is being stopped: its GPUs are about to come back."""
    in_use_by: tuple[str, ...] = ()
    """Jobs that use it now."""
    idle_until: float | None = None
    """Kept alive for the next job and stopped then, or sooner where its GPUs are needed; None: kept until deleted."""
    users: int = 1
    """Jobs that may use it side by side."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a decision depends on."""

    now: float
    gpus: tuple[int, ...]
    """Every GPU of the inventory that is usable."""
    taken: frozenset[int]
    """GPUs that somebody outside holds: another command's lease."""
    waiting: tuple[Waiting, ...]
    running: tuple[Running, ...]
    deployments: tuple[Deployment, ...] = ()
    max_running: int | None = None
    """Jobs that may run side by side, those without GPUs included; None: no limit."""


@dataclass(frozen=True, slots=True)
class Start:
    """A job that starts now."""

    job: str
    gpus: tuple[int, ...]
    """Its GPUs, ascending; none where it uses a deployment."""
    deployment: str | None = None
    """The deployment that it uses."""


@dataclass(frozen=True, slots=True)
class Evict:
    """An idle server, kept alive, whose GPUs a job that is next in line needs: to be stopped."""

    deployment: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    starts: tuple[Start, ...] = ()
    """In the order in which they were decided."""
    evict: tuple[Evict, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)
    """Why a job still waits, one sentence for people; of the first in the queue only, `explain` says it of any."""
