"""One service per module, with a home of its own and four declared GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.service.support import Running, serving


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Iterator[Running]:
    """For all tests of a module; each waits for the end of its own jobs."""
    with serving(tmp_path_factory.mktemp("shared"), evaluator_environments) as running:
        yield running


@pytest.fixture
def service(shared: Running) -> Running:
    """The same for tests that kill it: it runs again at the beginning of the next."""
    if not shared.alive:
        shared.start()
    return shared


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "gate"
