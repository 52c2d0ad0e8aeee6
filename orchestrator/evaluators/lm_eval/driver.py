"""Runs lm-evaluation-harness, in its own environment: `python driver.py run.json PROGRESS.json`.

lm-eval's own classes ask, and its own code scores and writes its files. What this adds to `lm_eval run`: several parts
in one process, an index of those tasks only that are wanted, a file that tells how far it is, and log-probabilities
that know which request failed.
"""

# ruff: noqa: E402 - the garbage collector is off before lm-eval's imports: going over their objects again and again,
# and once more at the end, is a fourth of the processor time of a short run.

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

gc.disable()

from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from lm_eval.utils import setup_logging

MODELS = {"local-completions": LocalCompletionsAPI, "local-chat-completions": LocalChatCompletion}
MARK = "[[request-failed:"
"""How the gateway's text for a failed request begins."""
PAUSE = 0.1
"""Seconds at least between two writes of the progress file."""


def main(config_file: str, progress_file: str) -> None:
    """Run every part of the config."""
    setup_logging("INFO")
    config = json.loads(Path(config_file).read_bytes())
    progress = Progress(Path(progress_file), [part["requests"] for part in config["parts"]])
    for part in config["parts"]:
        run(part, config, progress)


def run(part: dict[str, Any], config: dict[str, Any], progress: Progress) -> None:
    """One part: its tasks asked over one API, scored, and written below its `output_path`."""
    arguments = part["model_args"]
    manager = TaskManager(
        include_path=config["include_path"], include_defaults=config["include_defaults"], metadata=arguments
    )
    tracker = EvaluationTracker(output_path=part["output_path"])
    seeds = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    results = simple_evaluate(
        model=counted(MODELS[part["model"]], progress).create_from_arg_obj(arguments),
        model_args=arguments,
        tasks=part["tasks"],
        num_fewshot=config["num_fewshot"],
        limit=config["limit"],
        bootstrap_iters=0,
        log_samples=True,
        evaluation_tracker=tracker,
        apply_chat_template=part["apply_chat_template"],
        fewshot_as_multiturn=part["apply_chat_template"],
        gen_kwargs=dict(part["gen_kwargs"]),
        task_manager=manager,
        **dict(zip(seeds, config["seeds"], strict=True)),
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])


def counted(base: type[Any], progress: Progress) -> type[Any]:
    """lm-eval's own class, telling what it does."""

    class Counted(base):  # type: ignore[misc]
        # One request at a time would add the end-of-sequence token to `stop`, several at a time would not.
        eos_string = None

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            with progress.asking(len(requests)):
                return super().generate_until(requests, disable_tqdm=disable_tqdm)

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            with progress.asking(len(requests)):
                return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            with progress.asking(None):
                return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)

        @staticmethod
        def parse_logprobs(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            scores = base.parse_logprobs(outputs, *args, **kwargs)
            return [marked(*one) for one in zip(scores, texts_of(outputs), strict=True)]

        def model_call(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().model_call(*args, **kwargs)
            progress.answered()
            return answer

        async def amodel_call(self, *args: Any, **kwargs: Any) -> Any:
            answer = await super().amodel_call(*args, **kwargs)
            progress.answered()
            return answer

    return Counted


def marked(score: tuple[float, bool], text: str) -> tuple[float, bool]:
    """The same score, or one that knows its failed request."""
    return (Failed(text), False) if text.startswith(MARK) else score


def texts_of(outputs: Any) -> list[str]:
    """The texts of all answers, in the order in which lm-eval reads their scores."""
    answers = outputs if isinstance(outputs, list) else [outputs]
    ordered = (sorted(answer["choices"], key=lambda choice: choice["index"]) for answer in answers)
    return [choice.get("text") or "" for choices in ordered for choice in choices]


class Failed(float):
    """Minus infinity as the log-probability of a failed request. Written as text, as lm-eval's samples are, it is the
    gateway's mark; and so is every sum that it is in.
    """

    mark: str

    def __new__(cls, mark: str) -> Failed:
        """Of the gateway's mark."""
        number = super().__new__(cls, "-inf")
        number.mark = mark
        return number

    def __add__(self, other: float) -> Failed:
        return self

    __radd__ = __add__

    def __str__(self) -> str:
        return self.mark


class Progress:
    """A file with `done`, `total` (null until known) and `over`: how many requests are answered.

    `kinds`: for each part the kinds of requests it will make; None where only lm-eval's code knows.
    """

    def __init__(self, file: Path, kinds: list[list[str] | None]) -> None:
        self._file = file
        self._known = None not in kinds
        self._ahead = sum(len(one or ()) for one in kinds)
        self._total: int | None = 0
        self._done = 0
        self._written = 0.0

    def asking(self, count: int | None) -> Asking:
        """Requests of one kind are about to be made; `count` is None where their number is not known."""
        collect_garbage()
        self._ahead -= 1
        self._total = None if count is None or self._total is None else self._total + count
        return Asking(self)

    def answered(self) -> None:
        """One more answer."""
        self._done += 1
        if time.monotonic() - self._written > PAUSE:
            self.write(over=False)

    def write(self, *, over: bool) -> None:
        """Replace the file; `over`: the requests of one kind are all answered."""
        self._written = time.monotonic()
        last = self._known and not self._ahead
        state = {"done": self._done, "total": self._total if last else None, "over": over and last}
        scratch = self._file.with_suffix(".part")
        scratch.write_text(json.dumps(state))
        scratch.replace(self._file)


def collect_garbage() -> None:
    """From now on, and not what is here already: modules (lm-eval imports some late) and tasks."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


class Asking:
    """The time during which requests of one kind are made."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> None:
        self._progress.write(over=False)

    def __exit__(self, *failure: object) -> None:
        self._progress.write(over=failure == (None, None, None))


if __name__ == "__main__":
    main(*sys.argv[1:])
