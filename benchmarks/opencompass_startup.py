"""What OpenCompass costs beside its questions: wall time of a whole run, ours and by its defaults.

Ten data sets of 20 questions each on the product's fake engine, which answers after half a second, 64 at a time: no
evaluator can take less than 1.6 s. By its defaults OpenCompass asks one question a second, and starts one process for
asking and one per data set for scoring, each of which imports for seconds. A run by its defaults over all of it takes
minutes, so by default one data set is measured that way (and all ten in ours), and what each further one would add is
the difference to a run over two.

    python benchmarks/opencompass_startup.py                 ours over 10 data sets; the defaults over 1 and 2
    python benchmarks/opencompass_startup.py --all           the defaults over all 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.evaluator_wall import Load, engine
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
        print(f"ours, {SETS} data sets x {ROWS} questions: {ours:6.1f} s")
        if everything:
            theirs = await timed(found, url, SETS, by_defaults=True)
            said = "measured"
        else:
            one, two = [await timed(found, url, sets, by_defaults=True) for sets in (1, 2)]
            print(f"defaults, 1 data set: {one:6.1f} s; 2 data sets: {two:6.1f} s")
            theirs, said = one + (SETS - 1) * (two - one), "each further data set as the second"
        print(f"defaults, {SETS} data sets ({said}): {theirs:6.1f} s; ratio {theirs / ours:.1f}")
        print(f"load average after: {os.getloadavg()[0]:.1f}")


async def timed(environment: Environment, url: str, sets: int, *, by_defaults: bool) -> float:
    """Seconds of a whole run, from the start of the process to its end; fails where nothing was scored."""
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
            argv[3] = str(place / "defaults.py")
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=command.cwd,
            env=scrubbed(os.environ, command.env),
            stdout=(place / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        await process.wait()
        seconds = time.monotonic() - began
        scored = [json.loads(file.read_bytes()) for file in (folder / "out").glob("*/results/*/*.json")]
        if len(scored) != sets:
            raise SystemExit(f"{len(scored)} of {sets} data sets were scored:\n{(place / 'log').read_text()[-2000:]}")
        return seconds


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--all", action="store_true", help="the defaults over all data sets: minutes")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    asyncio.run(main(options.parse_args().all))
