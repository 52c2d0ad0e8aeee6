"""What OpenCompass costs beside its questions: wall time of a whole run, ours and by its defaults.

Ten data sets of 20 questions each on the product's fake engine, which answers after half a second, 64 at a time: no
evaluator can take less than 1.6 s. By its defaults OpenCompass starts one process for asking and one per data set for
scoring, each of which imports for seconds; its model is set as fast as ours, so that only this differs. A run by its
defaults over all of it takes minutes, so one and two data sets are measured that way (and all ten in ours), and each
further one is taken to add what the second did. Processor time is told too: it hardly changes on a busy machine, on
which wall times mean nothing.

Measured beside much else on two processors (load 9 to 13): ours 7.3 s of processor time for 10 data sets (10 s of
wall time), the defaults 30.1 s for one, 38.9 s for two. Where ours goes: 5.4 s imports, of which 1.2 s torch, 0.5 s
transformers, 0.5 s datasets, 0.3 s openai, 1.9 s what OpenCompass's models pull in beside; 1.2 s asking, 0.4 s scoring.

    python benchmarks/opencompass_startup.py                 ours over 10 data sets; the defaults over 1 and 2
    python benchmarks/opencompass_startup.py --all           the defaults over all 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from evaluator_wall import Load, engine

from launchers.environments import Environment, Environments
from launchers.scrub import scrubbed
from orchestrator.evaluators.base import Target
from orchestrator.evaluators.opencompass import OpenCompassEvaluator
from orchestrator.settings import Settings
from orchestrator.spec import EvaluateSpec

SETS, ROWS = 10, 20
LOAD = Load(slots=64, latency=0.5, sigma=0.0, prompts=SETS * ROWS)
SHIPPED = Path(__file__).parents[1] / "eval_configs" / "opencompass" / "datasets" / "demo_arithmetic.py"
MANY = """
from mmengine.config import read_base

with read_base():
    from .shipped import demo_arithmetic_datasets as originals

many_datasets = [
    dict(
        originals[0],
        abbr="set_" + str(n),
        path={data!r},
        reader_cfg=dict(
            input_columns=["question"],
            output_column="answer",
            test_range="[" + str(n * {rows}) + ":" + str(n * {rows} + {rows}) + "]",
        ),
    )
    for n in range({sets})
]
"""
DEFAULTS = """
from mmengine.config import read_base
from opencompass.models import OpenAISDK

with read_base():
    from .many import many_datasets

datasets = many_datasets
models = [
    dict(
        type=OpenAISDK,
        abbr="served",
        path="fake",
        key="none",
        openai_api_base={url!r},
        tokenizer_path={counter!r},
        max_seq_len=1_000_000,
        max_out_len=128,
        temperature=0.0,
        query_per_second=1000,
        max_workers=64,
        batch_size=64,
    )
]
"""


async def main(everything: bool) -> None:
    """Measure and print."""
    found = Environments(Settings.load().environments).find(OpenCompassEvaluator.recipe)
    if found is None:
        raise SystemExit("OpenCompass is not installed: orchestrator install opencompass")
    async with engine(LOAD) as port:
        url = f"http://127.0.0.1:{port}/v1"
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        ours = await timed(found, url, SETS, by_defaults=False)
        print(f"ours, {SETS} data sets x {ROWS} questions: {ours}")
        if everything:
            theirs, said = await timed(found, url, SETS, by_defaults=True), "measured"
        else:
            one, two = [await timed(found, url, sets, by_defaults=True) for sets in (1, 2)]
            print(f"defaults, 1 data set: {one}; 2 data sets: {two}")
            theirs, said = one.plus(two.minus(one), SETS - 1), "each further data set as the second"
        print(f"defaults, {SETS} data sets ({said}): {theirs}")
        print(f"ratio {theirs.wall / ours.wall:.1f}, of processor time {theirs.processor / ours.processor:.1f}")
        print(f"load average after: {os.getloadavg()[0]:.1f}")


@dataclass(frozen=True)
class Cost:
    """Seconds of a run."""

    wall: float
    processor: float

    def plus(self, other: Cost, times: int = 1) -> Cost:
        return Cost(self.wall + times * other.wall, self.processor + times * other.processor)

    def minus(self, other: Cost) -> Cost:
        return self.plus(other, -1)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} s of processor time)"


async def timed(environment: Environment, url: str, sets: int, *, by_defaults: bool) -> Cost:
    """A whole run, from the start of the process to its end; fails where not everything was scored."""
    with tempfile.TemporaryDirectory(prefix="startup-") as scratch:
        place = Path(scratch)
        (place / "shipped.py").symlink_to(SHIPPED)
        data = str(SHIPPED.parents[2] / "data" / "demo_arithmetic")
        (place / "many.py").write_text(MANY.format(data=data, rows=ROWS, sets=sets))
        folder = place / "run"
        folder.mkdir()
        spec = EvaluateSpec(evaluator="opencompass", datasets=["many.py"])
        command = OpenCompassEvaluator().prepare(spec, place, environment, Target(url, "fake", 64), folder)
        argv = list(command.argv)
        if by_defaults:
            (place / "defaults.py").write_text(DEFAULTS.format(url=url, counter=str(folder / "config" / "counter")))
            argv[1:5] = ["-m", "opencompass.cli.main", str(place / "defaults.py")]
        began, used = time.monotonic(), processor_time()
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=command.cwd,
            env=scrubbed(os.environ, command.env),
            stdout=(place / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        await process.wait()
        cost = Cost(time.monotonic() - began, processor_time() - used)
        scored = [json.loads(file.read_bytes()) for file in (folder / "out").glob("*/results/*/*.json")]
        if len(scored) != sets:
            raise SystemExit(f"{len(scored)} of {sets} data sets were scored:\n{(place / 'log').read_text()[-2000:]}")
        return cost


def processor_time() -> float:
    """Seconds that all processes below this one have used that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--all", action="store_true", help="the defaults over all data sets: minutes")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(options.parse_args().all))
