"""Our index of the installed lm-eval's tasks against its own, which reads every file whole."""

from __future__ import annotations

import json
import subprocess

import pytest

from launchers.environments import Environments
from orchestrator.evaluators.lm_eval.index import index_of, package_of
from orchestrator.settings import Settings
from tests.orchestrator.lm_eval.support import EVALUATOR

pytestmark = pytest.mark.heavy
THEIRS = """
import json
from lm_eval.tasks import TaskManager
index = TaskManager().task_index
kinds = {name: entry.kind.name.replace("PY_", "").lower() for name, entry in index.items()}
tags = {name: sorted(index[name].tags) for name, kind in kinds.items() if kind == "tag"}
print(json.dumps([kinds, tags]))
"""


def test_every_name_of_the_installed_lm_eval_is_known_and_stands_for_the_same() -> None:
    environment = Environments(Settings.load().environments).find(EVALUATOR.recipe)
    assert environment, "first: orchestrator install lm_eval"
    package = package_of(environment)
    assert package
    done = subprocess.run([environment.python, "-c", THEIRS], capture_output=True, text=True, timeout=240, check=True)
    kinds, tags = json.loads(done.stdout.splitlines()[-1])
    ours = index_of(package / "tasks")
    assert len(kinds) > 10_000
    assert {name: entry.kind for name, entry in ours.items()} == kinds
    assert {name: sorted(entry.members) for name, entry in ours.items() if entry.kind == "tag"} == tags
