"""OpenCompass: the real command in its own environment, a generated config, its files read back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from launchers.engine import Refusal
from launchers.environments import Environment, Recipe
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.base import Command, Done, Evaluator, Target
from orchestrator.evaluators.opencompass.config import write_config
from orchestrator.evaluators.opencompass.datasets import DatasetRefused, find_dataset, package_of
from orchestrator.evaluators.opencompass.diagnosis import failure, telling_lines
from orchestrator.evaluators.opencompass.progress import read_progress
from orchestrator.evaluators.opencompass.reading import Broken, DatasetFiles, read_run, run_of
from orchestrator.evaluators.opencompass.scoring import result_of, samples_of
from orchestrator.results import Evaluation
from orchestrator.spec.models import EvaluateSpec


class OpenCompassEvaluator(Evaluator):
    """OpenCompass 0.5.4 over the gateway.

    The folder of a run: `config/` (what OpenCompass is given), `work/` (its current folder), `out/` (what it
    leaves), `tmp/`, `cache/` and `run.json` (what was asked for).
    """

    name: ClassVar[str] = "opencompass"
    recipe: ClassVar[Recipe] = Recipe(
        name="opencompass",
        requirements=Path(__file__).parents[2] / "requirements" / "opencompass.txt",
        check="import opencompass.runners, opencompass.cli.main",
        size="2.1 GB",
        time="2 to 5 minutes",
    )

    def refusals(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """Data sets that do not exist, that only log-likelihoods can score, or whose data is not here."""
        package = package_of(environment) if environment else None
        refused = []
        for index, name in enumerate(spec.datasets):
            field = f"datasets.{index}"
            if name in spec.datasets[:index]:
                refused.append(Refusal(field, f"`{name}` is given twice"))
                continue
            try:
                find_dataset(name, base, package, spec.limit)
            except DatasetRefused as reason:
                refused.append(Refusal(field, reason.message))
        return refused

    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        """Write `config/eval.py`; the command is what the `opencompass` script of the environment runs.

        Raises: DatasetRefused, as `refusals` says it.
        """
        package = package_of(environment)
        configs = [find_dataset(name, base, package, spec.limit) for name in spec.datasets]
        config = write_config(spec, configs, target, folder / "config")
        for name in ("work", "out", "tmp", "cache"):
            (folder / name).mkdir()
        (folder / "run.json").write_text(json.dumps({"datasets": spec.datasets, "limit": spec.limit}))
        # Not the script itself: its first line names the interpreter by a path that may have moved.
        argv = (str(environment.python), "-m", "opencompass.cli.main", str(config), "-w", str(folder / "out"))
        return Command(argv, folder / "work", _variables(folder))

    def progress(self, folder: Path) -> Done:
        """How far the run is."""
        return read_progress(folder / "out")

    def collect(self, folder: Path, log: Path) -> Evaluation:
        """Scores and samples of every data set.

        Raises: EvaluatorFailed, or DatasetMissing, when one of them has no whole result.
        """
        asked = json.loads((folder / "run.json").read_text())
        try:
            found = list(read_run(run_of(folder / "out"), asked["limit"]))
        except (EvaluatorFailed, OSError, SyntaxError, KeyError) as error:
            reason = error.message if isinstance(error, EvaluatorFailed) else f"its config cannot be read: {error!r}"
            raise EvaluatorFailed(
                "\n".join([reason, *(f"  {line}" for line in telling_lines(log))]), hint=f"see {log}"
            ) from error
        broken = [files for files in found if isinstance(files, Broken)]
        if broken:
            raise failure(broken, log)
        return _evaluation([files for files in found if isinstance(files, DatasetFiles)])


def _evaluation(found: list[DatasetFiles]) -> Evaluation:
    samples = [samples_of(files) for files in found]
    results = [result_of(files, own) for files, own in zip(found, samples, strict=True)]
    return Evaluation(datasets=results, samples=[sample for own in samples for sample in own])


def _variables(folder: Path) -> dict[str, str]:
    """Nothing is fetched, no GPU is touched, and what is written stays in `folder`.

    A cache of Hugging Face that is there already stays in use: it may hold the data sets.
    """
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    quiet = {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    places = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    shared = Path("~/.cache/huggingface").expanduser()
    if "HF_HOME" not in os.environ and shared.is_dir():
        places["HF_HOME"] = str(shared)
    return {**offline, **quiet, **places, "CUDA_VISIBLE_DEVICES": ""}
