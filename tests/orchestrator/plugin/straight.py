"""An evaluator as a third party would add one: a real process that asks and scores, small enough for quick tests.

It asks every question of a file in GSM8K form through the gateway and counts the last number of each answer. It is
found through the entry points of the folder that it lies in, as those of an installed package are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

from clients.marks import failure_id_of, is_failure_mark
from launchers.engine import Refusal
from launchers.environments import Environment, Recipe
from orchestrator.errors import EvaluatorFailed
from orchestrator.evaluators.base import Command, Done, Evaluator, Target
from orchestrator.results import DatasetResult, Evaluation, Sample, wilson_interval
from orchestrator.spec import EvaluateSpec


class StraightEvaluator(Evaluator):
    name: ClassVar[str] = "straight"
    recipe: ClassVar[Recipe] = Recipe(
        name="straight",
        requirements=Path(__file__).with_name("no-requirements.txt"),
        check="import json",
        size="30 MB",
        time="seconds",
    )

    def refusals(self, spec: EvaluateSpec, base: Path, environment: Environment | None) -> list[Refusal]:
        missing = [index for index, name in enumerate(spec.datasets) if not (base / name).is_file()]
        return [Refusal(f"datasets.{index}", "there is no such file") for index in missing]

    def prepare(
        self, spec: EvaluateSpec, base: Path, environment: Environment, target: Target, folder: Path
    ) -> Command:
        rows = (base / spec.datasets[0]).read_text().splitlines()[: spec.limit]
        (folder / "rows.jsonl").write_text("\n".join(rows))
        asking = Path(__file__).with_name("straight_asking.py")
        argv = (str(environment.python), str(asking), target.base_url, target.model, str(target.concurrency))
        return Command(argv, folder)

    def progress(self, folder: Path) -> Done:
        answers = folder / "answers.jsonl"
        total = len((folder / "rows.jsonl").read_text().splitlines())
        done = len(answers.read_text().splitlines()) if answers.exists() else 0
        return Done(done, total, over=done == total)

    def collect(self, folder: Path, log: Path) -> Evaluation:
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        try:
            answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        except FileNotFoundError:
            answers = []
        if len(answers) != len(rows):
            raise EvaluatorFailed(f"{len(answers)} of {len(rows)} answers were left behind")
        texts = {answer["index"]: answer["text"] for answer in answers}
        samples = [_sample(index, row, texts[index]) for index, row in enumerate(rows)]
        answered = [sample for sample in samples if sample.failed is None]
        right = sum(bool(sample.correct) for sample in answered)
        result = DatasetResult(
            evaluator="straight",
            dataset="rows",
            metric="accuracy",
            score=100 * right / len(answered) if answered else None,
            interval=wilson_interval(right, len(answered)),
            asked=len(samples),
            answered=len(answered),
            failed=len(samples) - len(answered),
            coverage=len(answered) / len(samples),
        )
        return Evaluation(datasets=[result], samples=samples)


def _sample(index: int, row: dict[str, str], text: str) -> Sample:
    gold = row["answer"].split("#### ")[1]
    found = re.findall(r"-?\d+", text)
    failed = failure_id_of(text) if is_failure_mark(text) else None
    return Sample(
        dataset="rows",
        index=index,
        prompt=row["question"],
        output=None if failed else text,
        gold=gold,
        prediction=found[-1] if found and not failed else None,
        correct=None if failed else found[-1:] == [gold],
        failed=failed,
    )
