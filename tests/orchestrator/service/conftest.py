"""A service with a home of its own and four declared GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.service.support import Running
from tests.orchestrator.support import wait_for


@pytest.fixture
def service(tmp_path: Path, evaluator_environments: Path) -> Iterator[Running]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "environments").symlink_to(evaluator_environments)
    service = Running(home, ORCHESTRATOR_GPUS="4")
    service.start()
    yield service
    service.stop()
    wait_for(lambda: not service.left(), "home where nothing is left", timeout=30)
