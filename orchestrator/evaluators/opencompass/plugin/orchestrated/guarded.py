"""Scoring in a process of its own, without a network and within limits: it runs what the model wrote."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from opencompass.tasks import OpenICLEvalTask
from opencompass.utils import get_data_path

GUARD = Path(__file__).with_name("guard.py")


class GuardedEvalTask(OpenICLEvalTask):
    """OpenCompass's own scoring, started by the guard."""

    def get_command(self, cfg_path: str, template: str) -> str:
        """The command of the task behind the guard, with the problems that HumanEval's scoring needs."""
        problems = os.pathsep.join(dict.fromkeys(map(str, _problems(self.dataset_cfgs))))
        guard = ["env", f"HUMAN_EVAL_PROBLEMS={problems}", sys.executable, str(GUARD), "sandbox.json"]
        score = [sys.executable, "-m", "orchestrated.quickly", "orchestrated.guarded:main", cfg_path]
        return template.format(task_cmd=shlex.join([*guard, *score]))


def main() -> None:
    """Score what the config says, as OpenCompass's own script of the task does; its file is the only argument."""
    OpenICLEvalTask(Config.fromfile(sys.argv[1])).run()


def _problems(groups: list[list[Any]]) -> list[Any]:
    """Files of the HumanEval data sets."""
    wanted = (dataset for group in groups for dataset in group if str(dataset["type"]).endswith("HumanevalDataset"))
    return [get_data_path(dataset["path"], local_mode=dataset.get("local_mode", False)) for dataset in wanted]
