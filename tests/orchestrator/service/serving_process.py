"""The service in a process of its own, without the command line around it."""

from __future__ import annotations

import asyncio
import signal
import sys

from orchestrator.api.app import create_app
from orchestrator.api.server import http_server
from orchestrator.errors import OrchestratorError
from orchestrator.service.core import Service
from orchestrator.settings import Settings


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings.load()
    service = Service.open(settings)
    try:
        async with http_server(create_app(service, settings), settings) as url, service.running(url):
            await stop.wait()
    finally:
        service.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except OrchestratorError as error:
        sys.exit(f"{error.code}: {error.message}")
