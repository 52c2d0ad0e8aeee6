"""One service per process of the test run, as `orchestrator serve` runs it, and who talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.service import ServiceClient
from tests.orchestrator.service.support import Running
from tests.orchestrator.support import Cli, wait_for


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Iterator[Running]:
    """A service with two declared GPUs; each test waits for the end of its own jobs."""
    home = tmp_path_factory.mktemp("served") / "home"
    home.mkdir()
    (home / "environments").symlink_to(evaluator_environments)
    running = Running(home, ORCHESTRATOR_GPUS="2")
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.client.close()
    wait_for(lambda: not running.left(), "home where nothing is left", timeout=30)


@pytest.fixture(scope="session")
def client(served: Running) -> Iterator[ServiceClient]:
    with ServiceClient(served.url) as client:
        yield client


@pytest.fixture
def remote(served: Running) -> Cli:
    """The command line in the home of the service."""
    return Cli(served.home)
