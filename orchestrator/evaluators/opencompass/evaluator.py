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
from orchestrator.evaluators.opencompass.config import Beside, write_config
from orchestrator.evaluators.opencompass.datasets import (
    DatasetConfig,
    DatasetRefused,
    find_datasets,
    find_own,
    package_of,
)
from orchestrator.evaluators.opencompass.diagnosis import failure, telling_lines
from orchestrator.evaluators.opencompass.judge import find_judge
from orchestrator.evaluators.opencompass.missing import places
from orchestrator.evaluators.opencompass.notes import notes_of
from orchestrator.evaluators.opencompass.options import refused_options
from orchestrator.evaluators.opencompass.progress import read_progress
from orchestrator.evaluators.opencompass.reading import Broken, DatasetFiles, read_run, run_of
from orchestrator.evaluators.opencompass.scoring import result_of, samples_of
from orchestrator.evaluators.opencompass.source import read_source
from orchestrator.evaluators.opencompass.summarizers import find_summarizer
from orchestrator.evaluators.opencompass.summary import groups_of
from orchestrator.results import Evaluation
from orchestrator.spec.models import EvaluateSpec
from orchestrator.spec.opencompass import JudgeSpec, OpenCompassSpec

PLUGIN = Path(__file__).parent / "plugin"
"""Modules of ours that OpenCompass's process imports."""


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
        """Data sets that do not exist, that cannot be asked over HTTP, or whose scoring needs what is not here."""
        package = package_of(environment) if environment else None
        refused: list[Refusal] = []
        found: list[tuple[str, DatasetConfig]] = []
        for index, name in enumerate(spec.datasets):
            field = f"datasets.{index}"
            if name in spec.datasets[:index]:
                refused.append(Refusal(field, f"`{name}` is given twice"))
                continue
            try:
                found += [(field, config) for config in find_datasets(name, base, package, spec.limit)]
            except DatasetRefused as reason:
                refused.append(Refusal(field, reason.message))
        return [*refused, *refused_options(spec.opencompass or OpenCompassSpec(), base, package, found)]

    def missing_data(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        """Each place where data has to be, with the commands that put it there."""
        return [
            Refusal(field, f"the data of `{config.name}` is not on this machine: {data.place} is absent; {data.steps}")
            for field, config in _found(spec, base, environment)
            for data in config.absent
        ]

    def scored_by_likelihood(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[str]:
        """Data sets that use perplexity or log-likelihood."""
        found = (field for field, config in _found(spec, base, environment) if "scores" in config.needs)
        return list(dict.fromkeys(found))

    def paths_read(self, spec: EvaluateSpec, base: Path) -> list[Path]:
        """Config files and files of data that are given by their path, and what the config files import.

        Config files are programs: what they name beyond that cannot be told.
        """
        summarizer = spec.opencompass.summarizer if spec.opencompass else None
        given = [*spec.datasets, *([summarizer] if summarizer else [])]
        own = (file for name in given if (file := find_own(name, base)) is not None)
        return list(dict.fromkeys(read for file in own for read in _read_by(file)))

    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        """Write `config/eval.py`; the command does what the `opencompass` script of the environment does.

        Raises: DatasetRefused, as `refusals` says it.
        """
        configs = [config for _, config in _found(spec, base, environment)]
        options = spec.opencompass or OpenCompassSpec()
        beside = Beside(
            find_summarizer(options.summarizer, base, package_of(environment)) if options.summarizer else None,
            find_judge(options.judge) if options.judge else None,
        )
        config = write_config(spec, configs, target, folder / "config", beside)
        for name in ("work", "out", "tmp", "cache"):
            (folder / name).mkdir()
        if shared := next((place / "data" for place in places() if (place / "data").is_dir()), None):
            (folder / "work" / "data").symlink_to(shared)  # where configs with `./data/...` look
        asked = spec.model_dump(mode="json", include={"datasets", "limit", "opencompass"})
        (folder / "run.json").write_text(json.dumps(asked))
        # Not the script itself: its first line names the interpreter by a path that may have moved.
        start = (str(environment.python), "-m", "orchestrated.quickly", "opencompass.cli.main:main")
        argv = (*start, str(config), "-w", str(folder / "out"))
        return Command((*_with_key(options.judge), *argv), folder / "work", _variables(folder))

    def progress(self, folder: Path) -> Done:
        """How far the run is."""
        return read_progress(folder / "out")

    def collect(self, folder: Path, log: Path) -> Evaluation:
        """Scores and samples of every data set.

        Raises: EvaluatorFailed, or DatasetMissing, when one of them has no whole result.
        """
        asked = json.loads((folder / "run.json").read_text())
        try:
            run = run_of(folder / "out")
            found = list(read_run(run, folder / "work", asked["limit"]))
        except (EvaluatorFailed, OSError, SyntaxError, KeyError, ValueError) as error:
            reason = error.message if isinstance(error, EvaluatorFailed) else f"its files cannot be read: {error!r}"
            raise EvaluatorFailed(
                "\n".join([reason, *(f"  {line}" for line in telling_lines(log))]), hint=f"see {log}"
            ) from error
        broken = [files for files in found if isinstance(files, Broken)]
        if broken:
            raise failure(broken, log, run)
        options = OpenCompassSpec.model_validate(asked.get("opencompass") or {})
        whole = [files for files in found if isinstance(files, DatasetFiles)]
        return _evaluation(whole, options, run, folder / "work")


def _found(spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[tuple[str, DatasetConfig]]:
    """(path in the spec, config) of every config file that the spec names. Raises: DatasetRefused."""
    package = package_of(environment) if environment else None
    return [
        (f"datasets.{index}", config)
        for index, name in enumerate(spec.datasets)
        for config in find_datasets(name, base, package, spec.limit)
    ]


def _read_by(file: Path) -> list[Path]:
    if file.suffix != ".py":
        return [file]
    try:
        return list(read_source(file, None).trees)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return [file]


def _with_key(judge: JudgeSpec | None) -> tuple[str, ...]:
    """What gives OpenCompass the judge's key under the one name that it knows, without writing it anywhere."""
    if judge is None or judge.api_key_variable is None:
        return ()
    return ("/bin/sh", "-c", f'OPENAI_API_KEY="${judge.api_key_variable}" exec "$@"', "sh")


def _evaluation(found: list[DatasetFiles], options: OpenCompassSpec, run: Path, work: Path) -> Evaluation:
    samples = [samples_of(files) for files in found]
    results = [
        result_of(files, own, notes_of(files, own, options, work)) for files, own in zip(found, samples, strict=True)
    ]
    return Evaluation(
        datasets=[*results, *groups_of(run, results)], samples=[sample for own in samples for sample in own]
    )


def _variables(folder: Path) -> dict[str, str]:
    """Nothing is fetched, no GPU is touched, and what is written stays in `folder`.

    A cache of Hugging Face that is there already stays in use: it may hold the data sets.
    """
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    quiet = {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    folders = {"TMPDIR": str(folder / "tmp"), "XDG_CACHE_HOME": str(folder / "cache")}
    shared = Path("~/.cache/huggingface").expanduser()
    if "HF_HOME" not in os.environ and shared.is_dir():
        folders["HF_HOME"] = str(shared)
    return {**offline, **quiet, **folders, "PYTHONPATH": str(PLUGIN), "CUDA_VISIBLE_DEVICES": ""}
