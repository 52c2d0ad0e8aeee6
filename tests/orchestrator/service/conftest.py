"""Services with homes of their own and four declared GPUs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.service.support import Running
from tests.orchestrator.support import wait_for


@pytest.fixture
def service(tmp_path: Path, evaluator_environments: Path) -> Iterator[Running]:
    """One that the test may kill."""
    with _serving(tmp_path, evaluator_environments) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Iterator[Running]:
    """One for all tests of a module; each waits for the end of its own jobs."""
    with _serving(tmp_path_factory.mktemp("shared"), evaluator_environments) as running:
        yield running


@contextlib.contextmanager
def _serving(folder: Path, environments: Path) -> Iterator[Running]:
    home = folder / "home"
    home.mkdir()
    (home / "environments").symlink_to(environments)
    running = Running(home, ORCHESTRATOR_GPUS="4")
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.client.close()
    wait_for(lambda: not running.left(), "home where nothing is left", timeout=30)
