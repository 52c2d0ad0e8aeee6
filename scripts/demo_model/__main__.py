"""Train the demo's model, save it, score what was saved and write its card.

python -m scripts.demo_model --out eval_configs/models/demo-arithmetic
"""

import argparse
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from scripts.demo_model.card import write_card
from scripts.demo_model.score import score_saved
from scripts.demo_model.split import SEED, evaluation_set
from scripts.demo_model.tokenizer import build_tokenizer, save_tokenizer
from scripts.demo_model.train import CONTEXT, VOCABULARY, Schedule, save, train

STEPS = 800
REPORT_EVERY = 50  # steps


def main() -> None:
    """Run from the repository's root, with torch and transformers installed."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    schedule = Schedule(options.seed, options.steps)
    tokenizer = build_tokenizer(options.seed, VOCABULARY)
    model = train(tokenizer, schedule, _progress(schedule.steps))
    save_tokenizer(tokenizer, CONTEXT, options.out)
    save(model, options.out)
    scores = score_saved(options.out, evaluation_set(options.seed))
    print(*scores, sep="\n", flush=True)
    write_card(options.out, _command(options), schedule, model.num_parameters(), scores)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demo's model on the CPU: about ten minutes.")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, tokenizer and card")
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer make a worse model")
    parser.add_argument("--seed", type=int, default=SEED)
    return parser.parse_args()


def _command(options: argparse.Namespace) -> str:
    return f"python -m scripts.demo_model --out {options.out} --steps {options.steps} --seed {options.seed}"


def _progress(steps: int) -> Callable[[int, float], None]:
    started, recent = time.monotonic(), deque[float](maxlen=REPORT_EVERY)

    def report(step: int, loss: float) -> None:
        recent.append(loss)
        if step % REPORT_EVERY == 0 or step == steps:
            seconds = time.monotonic() - started
            print(f"step {step}/{steps} loss {sum(recent) / len(recent):.4f} {seconds:.0f} s", flush=True)

    return report


if __name__ == "__main__":
    main()
