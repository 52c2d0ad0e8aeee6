"""The service's process: `python -m orchestrator.serve`, which `orchestrator serve` becomes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import uvloop

from launchers.errors import LaunchError
from orchestrator.api.app import create_app
from orchestrator.api.server import http_server
from orchestrator.errors import OrchestratorError
from orchestrator.logs import configure_logging
from orchestrator.service.core import Service
from orchestrator.settings import Settings
from orchestrator.traces import Collector, Traces
from orchestrator.webhooks import Webhooks

INTERRUPTED = 130
THREADS = 32
"""Calls of the store and the file system side by side: what waits for the disk at the same time shares one commit."""


def main() -> int:
    """Serve until a signal comes; the exit code: 0, 130 after Ctrl-C, 1 when it cannot start."""
    as_json = "--json" in sys.argv[1:]
    try:
        settings = Settings.load()
        configure_logging(settings.service.log_format)
        received = uvloop.run(_serve(settings, as_json))
    except (OrchestratorError, LaunchError) as error:
        _tell(error, as_json)
        return 1
    return INTERRUPTED if received is signal.SIGINT else 0


async def _serve(settings: Settings, as_json: bool) -> signal.Signals:
    """Serve until a signal comes; which one."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop, number)
    service = Service.open(settings)
    try:
        app = create_app(service, settings)
        traces = Traces(service, Collector.named(os.environ))
        async with (
            http_server(app, settings) as url,
            service.running(url),
            Webhooks(service, settings).running(),
            traces.running(),
        ):
            print(json.dumps({"url": url}) if as_json else url, flush=True)
            return await received
    finally:
        service.close()


def _tell(error: OrchestratorError | LaunchError, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}), flush=True)
        return
    hint = f"\n  next: {error.hint}" if error.hint else ""
    print(f"{error.code}: {error.message}{hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
