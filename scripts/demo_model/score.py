"""Held-out accuracy of a saved model, in each way of asking, with greedy decoding in float32.

python -m scripts.demo_model.score eval_configs/models/demo-arithmetic
"""

import argparse
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from scripts.demo_model.problems import Kind, Problem
from scripts.demo_model.prompts import STYLES, Style
from scripts.demo_model.split import SEED, evaluation_set

AT_ONCE = 100  # prompts generated together
LONGEST = 96  # new tokens


@dataclass(frozen=True)
class Score:
    """Problems solved and asked, by kind, in one style."""

    style: Style
    solved: Counter[Kind]
    asked: Counter[Kind]

    @property
    def accuracy(self) -> float:
        """The share solved, 0 to 1."""
        return self.solved.total() / self.asked.total()

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {self.solved[kind]}/{count}" for kind, count in sorted(self.asked.items()))
        return f"{self.accuracy:6.1%}  {self.style.name}: {kinds}"


def score_saved(folder: Path, problems: list[Problem]) -> list[Score]:
    """Load what `folder` holds, tokenizer and chat template included, and score it in every style."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return [_score(model, tokenizer, style, problems) for style in STYLES]


def last_number(text: str) -> int | None:
    """Return the answer as evaluators find it: the last integer before any question the model asks itself."""
    numbers = re.findall(r"-?\d+", text.partition("Question:")[0])
    return int(numbers[-1]) if numbers else None


def main() -> None:
    """Print the accuracy of a saved model."""
    parser = argparse.ArgumentParser(description="Score a saved model on the held-out problems.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--seed", type=int, default=SEED, help="of the test set")
    options = parser.parse_args()
    for score in score_saved(options.model, evaluation_set(options.seed)):
        print(score)


def _score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, style: Style, problems: list[Problem]) -> Score:
    solved: Counter[Kind] = Counter()
    for start in range(0, len(problems), AT_ONCE):
        part = problems[start : start + AT_ONCE]
        answers = _complete(model, tokenizer, [_rendered(tokenizer, style, each.question) for each in part])
        pairs = zip(part, answers, strict=True)
        solved.update(problem.kind for problem, text in pairs if last_number(text) == problem.result)
    return Score(style, solved, Counter(problem.kind for problem in problems))


def _rendered(tokenizer: PreTrainedTokenizerBase, style: Style, question: str) -> str:
    user = style.ask.format(question=question)
    if not style.chat:
        return user
    turn = {"role": "user", "content": user}
    return str(tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))


def _complete(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> list[str]:
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    generated = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
    answers = generated[:, inputs.input_ids.shape[1] :]
    return [str(tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]


if __name__ == "__main__":
    main()
