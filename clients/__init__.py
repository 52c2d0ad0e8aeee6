"""How running engines are talked to: pool, health, routing, journal, gateway, probe."""

from clients.gateway import Gateway
from clients.health import watch_replica
from clients.journal import Journal
from clients.ledger import Failure, Ledger
from clients.marks import FAILURE_MARK_PREFIX, is_failure_mark
from clients.pool import Pool
from clients.probe import Generation, generate
from clients.readiness import Listening, Rung, Watch, wait_listening
from clients.replica import Replica
from clients.spec import ProbeSpec

__all__ = [
    "FAILURE_MARK_PREFIX",
    "Failure",
    "Gateway",
    "Generation",
    "Journal",
    "Ledger",
    "Listening",
    "Pool",
    "ProbeSpec",
    "Replica",
    "Rung",
    "Watch",
    "generate",
    "is_failure_mark",
    "wait_listening",
    "watch_replica",
]
