"""The demo's data and model as they lie in the repository, read by code of the tests' own."""

import hashlib
import json
import operator
import random
import re
import struct
from itertools import islice
from pathlib import Path

import pytest

from scripts.demo_model.prompts import STYLES
from scripts.demo_model.split import SEED, as_jsonl, evaluation_set, example_set, trainable_problems

CONFIGS = Path(__file__).parents[2] / "eval_configs"
MODEL = CONFIGS / "models" / "demo-arithmetic"
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def rows(name: str) -> list[dict[str, str]]:
    text = (CONFIGS / "data" / "demo_arithmetic" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def solved_from_the_question(question: str) -> int:
    """Read the question as a person would: bags multiply, losses are taken off, all else is added up."""
    if " bags " in question:
        bags, each = numbers(question)
        return bags * each
    kept, _, lost = question.partition(" lost ")
    return sum(numbers(kept)) - sum(numbers(lost))


def evaluated(expression: str) -> int:
    parts = expression.split()
    if len(parts) == 1:
        return int(parts[0])
    left, sign, right = parts
    return SIGNS[sign](int(left), int(right))


def chains(working: str) -> list[list[str]]:
    """The sides of each `47 + 38 = 70 + 15 = 85` in a working."""
    found = re.findall(r"\d+ [-+*] \d+(?: = \d+(?: [-+*] \d+)?)+", working)
    return [chain.split(" = ") for chain in found]


def sums_and_differences(working: str) -> set[tuple[str, int, int]]:
    """What a working is asked to calculate: the first side of each chain, sums in either order alike."""
    asked = (chain[0].split() for chain in chains(working))
    operands = ((sign, int(left), int(right)) for left, sign, right in asked if sign != "*")
    return {
        ("+", min(left, right), max(left, right)) if sign == "+" else (sign, left, right)
        for sign, left, right in operands
    }


@pytest.mark.parametrize("name", ["train", "test"])
def test_every_gold_answer_is_the_arithmetic_of_its_question(name: str) -> None:
    for row in rows(name):
        result = row["answer"].rpartition("\n#### ")[2]
        assert int(result) == solved_from_the_question(row["question"]), row


@pytest.mark.parametrize("name", ["train", "test"])
def test_every_side_of_every_working_comes_to_the_same(name: str) -> None:
    for row in rows(name):
        working, _, result = row["answer"].rpartition("\n#### ")
        values = [{evaluated(side) for side in chain} for chain in chains(working)]
        assert all(len(value) == 1 for value in values), row
        assert values[-1] == {int(result)}, row


def test_no_question_and_no_calculation_of_the_test_file_is_ever_trained_on() -> None:
    held_out = set().union(*(sums_and_differences(row["answer"]) for row in rows("test")))
    questions = {row["question"] for row in rows("test")}
    assert len(held_out) > 150
    for problem in islice(trainable_problems(random.Random(0)), 20_000):
        assert not sums_and_differences(problem.working) & held_out, problem
        assert problem.question not in questions


def test_training_never_shows_operands_of_a_large_sum() -> None:
    drawn = islice(trainable_problems(random.Random(1)), 5_000)
    assert max(max(numbers(problem.question)) for problem in drawn) < 100


def test_the_files_are_what_the_seed_makes() -> None:
    data = CONFIGS / "data" / "demo_arithmetic"
    assert (data / "test.jsonl").read_text() == as_jsonl(evaluation_set(SEED))
    assert (data / "train.jsonl").read_text() == as_jsonl(example_set(SEED))


def test_another_seed_makes_another_test_file() -> None:
    assert as_jsonl(evaluation_set(SEED)) != as_jsonl(evaluation_set(SEED + 1))


def test_the_test_file_has_200_different_questions_of_every_kind() -> None:
    assert len({row["question"] for row in rows("test")}) == len(rows("test")) == 200
    kinds = [problem.kind for problem in evaluation_set(SEED)]
    assert all(kinds.count(kind) >= 15 for kind in set(kinds))
    assert len(set(kinds)) == 6


def test_the_styles_share_the_training_documents_between_them() -> None:
    assert sum(style.share for style in STYLES) == pytest.approx(1)


def test_the_weights_are_the_ones_the_card_describes() -> None:
    card = (MODEL / "README.md").read_text()
    assert hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest() in card


def test_every_accuracy_of_the_card_is_worth_measuring() -> None:
    table = re.findall(r"^\| .* \| ([\d.]+)% \|$", (MODEL / "README.md").read_text(), re.MULTILINE)
    assert len(table) == len(STYLES)
    assert all(50 <= float(accuracy) <= 95 for accuracy in table)


def test_weights_are_stored_in_bfloat16_and_served_in_float32() -> None:
    raw = (MODEL / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"BF16"}
    assert json.loads((MODEL / "config.json").read_text())["torch_dtype"] == "float32"


def test_each_digit_is_a_token_of_its_own() -> None:
    vocabulary = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    assert len(vocabulary) == json.loads((MODEL / "config.json").read_text())["vocab_size"] == 512
    assert {token for token in vocabulary if any(map(str.isdigit, token)) and token.isascii()} == set("0123456789")
