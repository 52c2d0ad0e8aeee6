from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launchers.environments import Environments, Recipe
from orchestrator.settings import Settings

RECIPE = Recipe(
    name="compat",
    requirements=Path(__file__).with_name("requirements.txt"),
    check="import openai, langchain_openai",
    size="135 MB",
    time="20 seconds to 2 minutes",
)


@pytest.fixture(scope="session")
def clients_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with the clients, installed once and kept with the user's other environments."""
    log = tmp_path_factory.mktemp("compat") / "install.log"
    environments = Environments(Settings.load().environments)
    return environments.install(RECIPE, report=lambda line: print(line, file=sys.stderr), log=log).python
