"""One service per module: what a test leaves in it no other test counts on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.orchestrator.api.support import Running, blocked, running


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Callable[[], Path]:
    """Makes homes: one service each."""

    def make() -> Path:
        home = tmp_path_factory.mktemp("home")
        (home / "environments").symlink_to(evaluator_environments)
        return home

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service on the loopback whose jobs run."""
    async with running(new_home()) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def queue(new_home: Callable[[], Path]) -> AsyncIterator[Running]:
    """A service on the loopback whose only GPU is taken: every job stays in the queue."""
    async with running(new_home(), gpus=1) as service, blocked(service):
        yield service
