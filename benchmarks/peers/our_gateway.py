"""The gateway alone in a process, in front of engines on this machine.

Run: `python benchmarks/peers/our_gateway.py PORT ENGINE_PORT[,ENGINE_PORT...] [--journal FILE] [--policy NAME]`.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvloop

from clients.gateway import Gateway
from clients.journal import Journal
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from clients.routing import POLICIES, policy


async def serve(port: int, engines: list[int], journal_path: Path | None, policy_name: str) -> None:
    pool = Pool(policy(policy_name))
    for number, engine in enumerate(engines):
        replica = Replica(f"r{number}", "127.0.0.1", engine)
        pool.add(replica)
        pool.mark_ready(replica)
    journal = Journal(journal_path, fingerprint="bench") if journal_path else None
    gateway = Gateway(pool, Ledger(), journal, served_model="m", request_timeout=60)
    async with gateway.serving("127.0.0.1", port):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("engines")
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--policy", default="least_in_flight", choices=POLICIES)
    given = parser.parse_args()
    uvloop.run(serve(given.port, [int(port) for port in given.engines.split(",")], given.journal, given.policy))


if __name__ == "__main__":
    main()
