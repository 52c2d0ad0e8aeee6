from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.one_click.support import Clicks, installed


@pytest.fixture
def clicks(tmp_path: Path) -> Iterator[Clicks]:
    folder = tmp_path / "configs"
    folder.mkdir()
    clicks = Clicks(installed(tmp_path / "home"), folder)
    yield clicks
    assert not clicks.cli.left()
