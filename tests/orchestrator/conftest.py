"""A command line with a home of its own, and jobs on the fake engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestrator.support import FAKE, ROWS, Cli, install_straight


@pytest.fixture(scope="session")
def evaluator_environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of the evaluator `straight`, really installed, once for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments"
    root.mkdir(exist_ok=True)
    return install_straight(root)


@pytest.fixture
def cli(tmp_path: Path, evaluator_environments: Path) -> Iterator[Cli]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "environments").symlink_to(evaluator_environments)
    cli = Cli(home)
    yield cli
    assert not cli.left()


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[..., Path]:
    """Write a job on the fake engine: its arguments, then changes to `serve`, `probe`, `evaluate` and the rest.

    The fidelity probe is off unless `probe` says otherwise: faults are planted by the number of the request.
    """

    def write(
        *engine: str, serve: dict[str, Any] | None = None, probe: dict[str, Any] | None = None, **changes: Any
    ) -> Path:
        document = {
            "serve": {"engine": "custom", "model": "fake", "command": [*FAKE, *engine], **(serve or {})},
            "evaluate": [{"evaluator": "straight", "datasets": [str(ROWS)], "limit": 20, "concurrency": 4}],
            "probe": {"fidelity": {"enabled": False}, **(probe or {})},
            **changes,
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write
