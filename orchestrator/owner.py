"""`python -m orchestrator.owner FOLDER`: the process that owns a detached deployment."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from orchestrator.deployment import Deployment, DeploymentFolder, DeploymentRecord
from orchestrator.settings import Settings


async def own(folder: DeploymentFolder) -> DeploymentRecord:
    """Serve until SIGTERM; returns the record with the teardown's proof."""
    deployment = Deployment(folder, Settings.load(), lambda phase, message: print(phase, message, flush=True))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, deployment.stop)
    return await deployment.run(lambda record: print("ready", record.url, flush=True))


if __name__ == "__main__":
    sys.exit(1 if uvloop.run(own(DeploymentFolder(Path(sys.argv[1])))).failure else 0)
