"""The split that keeps the test's calculations out of training, and the two files it fills.

A hash gives every calculation (two operands and a sign; a sum in either order) to one side. A problem may be
trained on iff none of the calculations that it asks for is on the test side, and tested iff all of them are.
Two kinds differ. The 64 products are facts to be known, so there the hash is of the product with the thing
counted. Large sums are for the test only: the model never saw three-digit operands and fails most of them,
which makes its accuracy a number worth measuring.

    python -m scripts.demo_model.split --out eval_configs/data/demo_arithmetic
"""

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from scripts.demo_model.problems import Kind, Problem, Step, draw

SEED = 11
HELD_OUT = 26  # of a hash byte's 256 values: a tenth of all calculations
WEIGHTS = {
    Kind.SUM: 3,
    Kind.DIFFERENCE: 3,
    Kind.PRODUCT: 2,
    Kind.SUM_THEN_DIFFERENCE: 3,
    Kind.SUM_OF_THREE: 2,
    Kind.LARGE_SUM: 3,
}
TEST_ROWS, TRAIN_ROWS = 200, 32


def trainable_problems(rng: random.Random) -> Iterator[Problem]:
    """Yield problems from the training side, without end."""
    kinds = [kind for kind in WEIGHTS if kind is not Kind.LARGE_SUM]
    while True:
        kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        yield next(problem for problem in _draws(kind, rng) if not any(map(held_out, split_keys(problem))))


def held_out_problems(rng: random.Random) -> Iterator[Problem]:
    """Yield problems from the test side, without end."""
    while True:
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        yield next(problem for problem in _draws(kind, rng) if all(map(held_out, split_keys(problem))))


def split_keys(problem: Problem) -> list[str]:
    """Return the texts whose hashes decide the problem's side; none for a large sum."""
    match problem.kind:
        case Kind.LARGE_SUM:
            return []
        case Kind.PRODUCT:
            return [f"{step.asked} {problem.thing}" for step in problem.steps]
    return [_in_order(step).asked for step in problem.steps]


def held_out(key: str) -> bool:
    """Say whether the test side owns `key`."""
    return hashlib.sha256(key.encode()).digest()[0] < HELD_OUT


def evaluation_set(seed: int) -> list[Problem]:
    """Return the test file's problems: `TEST_ROWS` different questions."""
    return _different(held_out_problems(random.Random(f"test {seed}")), TEST_ROWS)


def example_set(seed: int) -> list[Problem]:
    """Return the train file's problems, from which evaluators take their examples."""
    return _different(trainable_problems(random.Random(f"train {seed}")), TRAIN_ROWS)


def as_jsonl(problems: list[Problem]) -> str:
    """Write problems in GSM8K's form: one JSON object a line, the answer ending in `#### N`."""
    rows = [{"question": p.question, "answer": f"{p.working}\n#### {p.result}"} for p in problems]
    return "".join(json.dumps(row) + "\n" for row in rows)


def main() -> None:
    """Write `train.jsonl` and `test.jsonl`."""
    parser = argparse.ArgumentParser(description="Write the demo's data set.")
    parser.add_argument("--out", type=Path, required=True, help="folder for train.jsonl and test.jsonl")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "train.jsonl").write_text(as_jsonl(example_set(options.seed)))
    (options.out / "test.jsonl").write_text(as_jsonl(evaluation_set(options.seed)))


def _draws(kind: Kind, rng: random.Random) -> Iterator[Problem]:
    while True:
        yield draw(kind, rng)


def _in_order(step: Step) -> Step:
    return Step(min(step.left, step.right), "+", max(step.left, step.right)) if step.sign == "+" else step


def _different(problems: Iterator[Problem], count: int) -> list[Problem]:
    by_question: dict[str, Problem] = {}
    while len(by_question) < count:
        by_question |= {problem.question: problem for problem in islice(problems, count - len(by_question))}
    return list(by_question.values())


if __name__ == "__main__":
    main()
