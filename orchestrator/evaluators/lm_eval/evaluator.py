"""lm-evaluation-harness: its own code in its own environment, its files read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from launchers.engine import Refusal
from launchers.environments import Environment, Recipe
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.base import Command, Done, Evaluator, Target
from orchestrator.evaluators.lm_eval.config import write_config
from orchestrator.evaluators.lm_eval.diagnosis import failure
from orchestrator.evaluators.lm_eval.missing import cache_folder, missing_data
from orchestrator.evaluators.lm_eval.reading import GroupFiles, TaskFiles, read_run
from orchestrator.evaluators.lm_eval.scoring import group_result, scored
from orchestrator.evaluators.lm_eval.tasks import Asked, TaskRefused, catalogue, find, include_path_of, paths_named
from orchestrator.results import Evaluation
from orchestrator.spec.models import EvaluateSpec

DRIVER = Path(__file__).with_name("driver.py")


class LmEvalEvaluator(Evaluator):
    """lm-eval 0.4.13 over the gateway.

    The folder of a run: `run.json` (what lm-eval is told), `out/` (what it leaves), `progress.json`, `tmp/`, `cache/`.
    """

    name: ClassVar[str] = "lm_eval"
    recipe: ClassVar[Recipe] = Recipe(
        name="lm_eval",
        requirements=Path(__file__).parents[2] / "requirements" / "lm_eval.txt",
        check="import lm_eval.evaluator, lm_eval.models.openai_completions, transformers",
        size="1.6 GB",
        time="2 to 4 minutes",
        distribution="lm_eval",
    )

    def refusals(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """Tasks that do not exist, that need more than texts, that are asked twice; and `api` where it cannot be."""
        try:
            known = catalogue(spec, base, environment)
        except TaskRefused as reason:
            return [Refusal("lm_eval.include_path", reason.message)]
        refused, seen = [], dict[str, str]()
        for index, entry in enumerate(spec.datasets):
            try:
                found = [task for asked in find(entry, base, known) for task in asked.tasks]
            except TaskRefused as reason:
                refused.append(Refusal(f"datasets.{index}", reason.message))
                continue
            if twice := next((task.name for task in found if task.name in seen), None):
                message = f"`{twice}` is asked twice: by `{entry}` and by `{seen[twice]}`"
                refused.append(Refusal(f"datasets.{index}", message))
            seen.update({task.name: entry for task in found})
        return refused

    def missing_data(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """Data of the tasks that is not in the cache of Hugging Face, or not where their files say."""
        return [
            Refusal(f"datasets.{index}", lack)
            for index, asked in _asked(spec, base, environment)
            for task in asked.tasks
            if (lack := missing_data(task, base, environment))
        ]

    def scored_by_likelihood(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[str]:
        """Entries with tasks of types `multiple_choice`, `loglikelihood`, `loglikelihood_rolling`."""
        scoring = [
            index for index, asked in _asked(spec, base, environment) if not all(task.generates for task in asked.tasks)
        ]
        return [f"datasets.{index}" for index in dict.fromkeys(scoring)]

    def paths_read(self, spec: EvaluateSpec, base: Path) -> list[Path]:
        """Task files of the user's own, which may name Python files beside them, and the folder of more."""
        return paths_named(spec, base)

    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        """Write `run.json`; relative paths within task files start from the spec's folder.

        Raises: TaskRefused, as `refusals` says it, and when texts must be scored without the model's tokenizer.
        """
        asked = [one for _, one in _asked(spec, base, environment)]
        for name in ("out", "tmp", "cache"):
            (folder / name).mkdir()
        config = write_config(spec, asked, target, folder, folder / "out", include_path_of(spec, base))
        # -P: modules of the current folder, which is the user's, must not stand in for those of the environment.
        argv = (str(environment.python), "-P", str(DRIVER), str(config), str(folder / "progress.json"))
        return Command(argv, base, _variables(folder))

    def progress(self, folder: Path) -> Done:
        """Requests so far and wanted: several of them may belong to one sample."""
        try:
            state = json.loads((folder / "progress.json").read_bytes())
        except FileNotFoundError:
            return Done(0, None)
        return Done(state["done"], state["total"], state["over"])

    def collect(self, folder: Path, log: Path) -> Evaluation:
        """Scores and samples of every task, then of the groups.

        Raises: EvaluatorFailed, or DatasetMissing, when one of them has no whole result.
        """
        config = json.loads((folder / "run.json").read_bytes())
        try:
            found = list(read_run(folder / "out", config["parts"], config["limit"]))
        except EvaluatorFailed as error:
            raise failure(error.message, log) from error
        tasks = {files.name: scored(files) for files in found if isinstance(files, TaskFiles)}
        groups = [group_result(files, tasks) for files in found if isinstance(files, GroupFiles)]
        samples = [sample for one in tasks.values() for sample in one.samples]
        return Evaluation(datasets=[*(one.result for one in tasks.values()), *groups], samples=samples)


def task_names(environment: Environment | None) -> list[tuple[str, str, str]]:
    """Every task, group and tag that a spec may name: (name, kind, file), sorted."""
    known = catalogue(EvaluateSpec(evaluator="lm_eval"), Path(), environment)
    merged = {**known.installed, **known.ours}
    return [(entry.name, entry.kind, entry.file) for _, entry in sorted(merged.items())]


def _asked(spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[tuple[int, Asked]]:
    known = catalogue(spec, base, environment)
    return [(index, one) for index, entry in enumerate(spec.datasets) for one in find(entry, base, known)]


def _variables(folder: Path) -> dict[str, str]:
    """Nothing is fetched, no GPU is touched, no proxy is used, and what is written stays in `folder`.

    A cache of Hugging Face that is there already stays in use: it may hold the data.
    """
    offline = {f"{name}_OFFLINE": "1" for name in ("HF_HUB", "HF_DATASETS", "HF_EVALUATE", "TRANSFORMERS")}
    quiet = {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    direct = {"NO_PROXY": "*", "no_proxy": "*", "OPENAI_API_KEY": "none"}
    places = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    if "HF_HOME" not in os.environ and cache_folder().is_dir():
        places["HF_HOME"] = str(cache_folder())
    return {**offline, **quiet, **direct, **places, "CUDA_VISIBLE_DEVICES": ""}
