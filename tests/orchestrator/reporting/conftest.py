"""One finished job for all of these tests: they only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.reporting.support import hostile_job
from tests.orchestrator.support import Cli


@pytest.fixture(scope="session")
def reporting_cli(tmp_path_factory: pytest.TempPathFactory, evaluator_environments: Path) -> Cli:
    home = tmp_path_factory.mktemp("home")
    (home / "environments").symlink_to(evaluator_environments)
    return Cli(home)


@pytest.fixture(scope="session")
def spec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spec")


@pytest.fixture(scope="session")
def folder(reporting_cli: Cli, spec_folder: Path) -> Path:
    """Of a job that is over."""
    return Path(hostile_job(reporting_cli, spec_folder)["folder"])
