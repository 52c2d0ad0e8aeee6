"""Wall time of real evaluators over the ideal, through the gateway and by their defaults straight at the engine.

The engine is the product's fake one: 64 slots, log-normal latency. `ideal` is the sum of its latencies divided by its
slots: an engine that is never idle. `floor` is what no client can beat that does not know the latencies beforehand:
each slot takes the next request the moment it is free, and the last answers leave slots empty. Time counts from the
first request to the last answer, so the evaluator's imports do not count. The defaults ask through the gateway too,
which only counts there: it adds a millisecond to a second.

    python benchmarks/evaluator_wall.py                        OpenCompass (installed by `orchestrator install`)
    python benchmarks/evaluator_wall.py --lm-eval PYTHON       lm-evaluation-harness too, of that interpreter

Defaults are measured on fewer prompts (they ask one at a time) and scaled.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from clients.gateway import Gateway
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from launchers.environments import Environments
from launchers.scrub import scrubbed
from orchestrator.evaluators.base import Target
from orchestrator.evaluators.opencompass import OpenCompassEvaluator
from orchestrator.fake_engine.faults import Pace
from orchestrator.settings import Settings
from orchestrator.spec import EvaluateSpec

CONFIG = Path(__file__).parents[1] / "eval_configs" / "opencompass" / "datasets" / "demo_arithmetic.py"
TASK = """\
task: wall
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{max_gen_toks: 128, until: ["<none>"]}}
metric_list: [{{metric: exact_match}}]
"""


@dataclass(frozen=True)
class Load:
    """The engine's pace and the work."""

    slots: int
    latency: float
    sigma: float
    prompts: int

    def ideal(self, prompts: int) -> float:
        """Seconds of an engine that is never idle."""
        return sum(self._delays(prompts)) / self.slots

    def floor(self, prompts: int) -> float:
        """Seconds when every slot takes the next request the moment it is free."""
        free = [0.0] * self.slots
        for delay in self._delays(prompts):
            heapq.heapreplace(free, free[0] + delay)
        return max(free)

    def _delays(self, prompts: int) -> list[float]:
        pace = Pace(self.slots, self.latency, self.sigma)
        return [pace.delay(0, number) for number in range(1, prompts + 1)]


@asynccontextmanager
async def engine(load: Load) -> AsyncIterator[int]:
    """The fake engine; gives its port."""
    pace = ("--slots", str(load.slots), "--latency", str(load.latency), "--latency-sigma", str(load.sigma))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.fake_engine", "--port", "0", *pace), stdout=subprocess.PIPE
    )
    assert process.stdout
    try:
        line = b""
        while not (found := re.search(rb"ready on http://[^:]+:(\d+)", line)):
            line = await process.stdout.readline()
        yield int(found[1])
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def gateway(port: int) -> AsyncIterator[tuple[str, Ledger]]:
    """The gateway in front of the engine; its ledger counts what passes."""
    pool, ledger, replica = Pool(), Ledger(), Replica("engine-0", "127.0.0.1", port, "fake")
    pool.add(replica)
    pool.mark_ready(replica)
    serving = Gateway(pool, ledger, None, served_model="fake", request_timeout=120).serving("127.0.0.1", 0)
    async with serving as url:
        yield url, ledger


async def measure(argv: list[str], cwd: Path, env: dict[str, str], ledger: Ledger) -> float:
    """Seconds from the first request to the last answer of one evaluator run."""
    log = (cwd / "log").open("wb")
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd, env=env, stdout=log, stderr=log)
    began = None
    while process.returncode is None:
        if began is None and ledger.asked:
            began = time.time()
        await asyncio.sleep(0.01)
    log.close()
    if began is None or ledger.last_answer is None:
        raise SystemExit(f"no request came; its last words:\n{(cwd / 'log').read_text()[-2000:]}")
    return ledger.last_answer - began


async def opencompass(load: Load, scratch: Path, rows: Path, concurrency: int) -> float:
    """OpenCompass as the product configures it, through the gateway."""
    evaluator = OpenCompassEvaluator()
    environment = Environments(Settings.load().environments).find(evaluator.recipe)
    if environment is None:
        raise SystemExit("first: orchestrator install opencompass")
    (scratch / "wall.py").write_text(re.sub(r"path=__file__.*", f"path={str(rows.parent)!r},", CONFIG.read_text()))
    folder = scratch / "opencompass"
    folder.mkdir()
    spec = EvaluateSpec(evaluator="opencompass", datasets=["wall.py"])
    async with engine(load) as port, gateway(port) as (url, ledger):
        command = evaluator.prepare(spec, scratch, environment, Target(f"{url}/v1", "fake", concurrency), folder)
        seconds = await measure(list(command.argv), folder / "work", scrubbed(os.environ, command.env), ledger)
        assert ledger.answered == load.prompts, ledger.snapshot()
    return seconds


async def lm_eval(load: Load, scratch: Path, rows: Path, python: str, options: str, limit: int) -> float:
    """lm-evaluation-harness on chat completions, with these model arguments."""
    folder = scratch / f"lm_eval-{limit}"
    folder.mkdir()
    (folder / "wall.yaml").write_text(TASK.format(rows=rows))
    async with engine(load) as port, gateway(port) as (url, ledger):
        model = f"model=fake,base_url={url}/v1/chat/completions,timeout=600{options}"
        argv = [python, "-m", "lm_eval", "run", "--model", "local-chat-completions", "--apply_chat_template"]
        argv += ["--model_args", model, "--tasks", "wall", "--include_path", str(folder), "--limit", str(limit)]
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
        return await measure(argv, folder, scrubbed(os.environ, offline), ledger)


async def opencompass_defaults(load: Load, scratch: Path, rows: Path, limit: int) -> float:
    """OpenCompass with the defaults of its API model class."""
    evaluator = OpenCompassEvaluator()
    environment = Environments(Settings.load().environments).find(evaluator.recipe)
    assert environment
    folder = scratch / "opencompass-defaults"
    folder.mkdir()
    spec = EvaluateSpec(evaluator="opencompass", datasets=["wall.py"], limit=limit)
    async with engine(load) as port, gateway(port) as (url, ledger):
        command = evaluator.prepare(spec, scratch, environment, Target(f"{url}/v1", "fake", 1), folder)
        config = folder / "config" / "eval.py"
        text = re.sub(r"\n +(max_workers|query_per_second|batch_size)=[^\n]*", "", config.read_text())
        config.write_text(text.replace("OpenICLInferConcurrentTask", "OpenICLInferTask"))
        return await measure(list(command.argv), folder / "work", scrubbed(os.environ, command.env), ledger)


def row(name: str, load: Load, prompts: int, seconds: float) -> None:
    """One line of the table."""
    ideal, floor = load.ideal(prompts), load.floor(prompts)
    figures = f"{seconds:>9.2f} {ideal:>9.2f} {floor:>9.2f} {seconds / ideal:>10.2f} {seconds / floor:>10.2f}"
    print(f"{name:<46} {prompts:>7} {figures}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1319)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0, help="median seconds of an answer")
    parser.add_argument("--sigma", type=float, default=0.5, help="of the log-normal latency")
    parser.add_argument("--concurrency", type=int, default=72, help="requests in flight: a few more than the slots")
    parser.add_argument("--few", type=int, default=20, help="prompts for the defaults")
    parser.add_argument("--lm-eval", metavar="PYTHON", help="interpreter that has lm_eval")
    given = parser.parse_args()
    load = Load(given.slots, given.latency, given.sigma, given.prompts)
    with tempfile.TemporaryDirectory(prefix="wall-") as name:
        scratch = Path(name)
        rows = scratch / "data" / "test.jsonl"
        rows.parent.mkdir()
        question = {"answer": "That is 1.\n#### 1"}
        lines = [json.dumps({"question": f"What is {n} + 1?", **question}) for n in range(load.prompts)]
        rows.write_text("\n".join(lines))
        (rows.parent / "train.jsonl").write_text(lines[0])
        heads = f"{'seconds':>9} {'ideal':>9} {'floor':>9} {'over ideal':>10} {'over floor':>10}"
        print(f"{'':<46} {'prompts':>7} {heads}")
        few = given.few
        seconds = await opencompass(load, scratch, rows, given.concurrency)
        row("OpenCompass through the gateway", load, load.prompts, seconds)
        seconds = await opencompass_defaults(load, scratch, rows, few)
        row("OpenCompass by its defaults", load, few, seconds)
        if given.lm_eval:
            options = f",num_concurrent={given.concurrency},max_retries=3"
            seconds = await lm_eval(load, scratch, rows, given.lm_eval, options, load.prompts)
            row("lm-eval through the gateway", load, load.prompts, seconds)
            seconds = await lm_eval(load, scratch, rows, given.lm_eval, "", few)
            row("lm-eval by its defaults", load, few, seconds)


if __name__ == "__main__":
    uvloop.run(main())
