"""lm-eval's evaluator, an environment with a small package of tasks, and what a run of it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import eval_configs
from launchers.environments import Environment
from orchestrator.evaluators.lm_eval import LmEvalEvaluator
from orchestrator.spec.models import EvaluateSpec

EVALUATOR = LmEvalEvaluator()
CONFIGS = Path(eval_configs.__file__).parent
MODEL = CONFIGS / "models" / "demo-arithmetic"

TASKS = {
    "sums/two.yaml": '"task": sums\n"tag":\n- numbers\ndataset_path: owner/SumsOfTwo\ndescription: "a:\n\n  task: b"\n',
    "sums/_base": "output_type: multiple_choice\ndataset_path: json\ntag: numbers\nprocess_docs: !function u.docs\n",
    "sums/odd.yaml": "include: _base\ntask: odd\ndataset_kwargs: {data_files: {test: odd.jsonl}}\n",
    "sums/group.yaml": "group: all_sums\ntask:\n  - sums\n  - group: inner\n    task: [odd]\n",
    "code.yaml": "task: code\nunsafe_code: true\ndataset_path: x/y\n",
    "seen.yaml": "task: seen\ndoc_to_image: image\ndataset_path: x/y\n",
    "python.yaml": "task: by_code\nclass: !function task.Squad\n",
    "broken.yaml": "task: [\n",
}


def installed(place: Path) -> Environment:
    """An environment whose lm-eval has the tasks above."""
    package = place / "env/lib/python3.11/site-packages/lm_eval/tasks"
    for name, text in TASKS.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return Environment("lm_eval", place / "env", place / "env/bin/python", {}, "", "")


def spec(*datasets: str, **more: Any) -> EvaluateSpec:
    return EvaluateSpec.model_validate({"evaluator": "lm_eval", "datasets": list(datasets), **more})
