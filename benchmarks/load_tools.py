"""Load tools against a known truth: what each says of a fake engine, and by how much it is wrong.

The truth is what the engine did: it writes when each request arrived and when each token left. What it was told to do
(`nominal`) is shown beside it: a loaded machine makes every engine later than that, and no tool is to blame. Each
scenario keeps so many streams in flight for some seconds.

    python benchmarks/load_tools.py --only ours                                  under a minute
    python benchmarks/load_tools.py --guidellm ENV/bin/guidellm --vllm ENV/bin/python
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

import eval_configs
from orchestrator.evaluators.speed.asking import Client, Timing
from orchestrator.evaluators.speed.figures import Window, gaps, percentiles, rates
from orchestrator.evaluators.speed.pressure import press_closed
from orchestrator.evaluators.speed.prompts import PromptMaker

TOKENIZER = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"


# `vllm bench serve` without the rest of its command, which some builds of vLLM for processors cannot start.
VLLM = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@dataclass(frozen=True)
class Scenario:
    """What the engine does and how it is pressed."""

    streams: int
    latency: float
    pace: float
    output: int
    seconds: float

    def nominal(self) -> Figures:
        whole = self.latency + self.output / self.pace
        first, gap = self.latency + 1 / self.pace, 1 / self.pace
        return Figures(self.streams / whole, self.streams * self.output / whole, first, first, gap, gap, whole)


@dataclass(frozen=True)
class Figures:
    """What a tool says; times in seconds."""

    requests: float
    tokens: float
    ttft_p50: float
    ttft_p99: float
    itl_p50: float
    itl_p99: float
    latency_p50: float


@dataclass(frozen=True)
class Found:
    """What a tool says, and of which requests."""

    figures: Figures
    window: Window | None = None
    """Of which its rates are; None: from the first request to the last token."""
    since: float = 0.0
    """When the first request began whose times it counts."""


Tool = Callable[[int, Scenario, Path], Found]

SCENARIOS = (
    Scenario(1, 0.1, 50, 64, 6),
    Scenario(8, 0.1, 50, 64, 6),
    Scenario(64, 0.1, 50, 64, 8),
    Scenario(256, 0.1, 50, 64, 8),
)


def main() -> None:
    given = _arguments()
    tools: dict[str, Tool] = {"ours": ours}
    if given.guidellm:
        tools["guidellm"] = lambda port, scenario, folder: guidellm(given.guidellm, port, scenario, folder)
    if given.vllm:
        tools["vllm bench"] = lambda port, scenario, folder: vllm_bench(given.vllm, port, scenario, folder)
    tools = {name: tool for name, tool in tools.items() if not given.only or name in given.only}
    for scenario in (one for one in SCENARIOS if one.streams in given.streams):
        print(f"\n{scenario.streams} streams of {scenario.output} tokens at {scenario.pace:g}/s, first after ", end="")
        print(f"{scenario.latency:g} s; load average {os.getloadavg()[0]:.1f}")
        print(f"{'':16}" + "".join(f"{name:>14}" for name in asdict(scenario.nominal())) + f"{'CPU s':>8}{'worst':>8}")
        _show("nominal", scenario.nominal(), scenario.nominal())
        for name, tool in tools.items():
            compare(name, tool, scenario)


def compare(name: str, tool: Tool, scenario: Scenario) -> None:
    """Run one tool and show what the engine did (against nominal), and what the tool says (against that)."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "timings.jsonl"
        with fake_engine(scenario, log) as port:
            before = os.times()
            found = tool(port, scenario, Path(folder))
            after = os.times()
        truth = measured(log, scenario, found)
    _show(f"engine, {name}", truth, scenario.nominal())
    _show(name, found.figures, truth, sum(after[:4]) - sum(before[:4]))


def measured(log: Path, scenario: Scenario, found: Found) -> Figures:
    """What the engine did, over the requests that the tool counts."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    timings = [
        Timing(row["arrived"], scenario.output, row["tokens"][-1], row["tokens"], (64, scenario.output))
        for row in rows
        if len(row["tokens"]) == scenario.output
    ]
    counted = [timing for timing in timings if timing.began >= found.since]
    whole = Window(min(one.began for one in timings), max(one.ended for one in timings))
    return figures_of(timings, counted, found.window or whole)


def figures_of(timings: Sequence[Timing], counted: Sequence[Timing], window: Window) -> Figures:
    ttft, latency = percentiles(one.ttft for one in counted), percentiles(one.latency for one in counted)
    itl = percentiles(gap for timing in counted for gap in gaps(timing))
    assert ttft
    assert itl
    assert latency
    rate = rates(timings, window)
    return Figures(rate.requests, rate.output_tokens, ttft.p50, ttft.p99, itl.p50, itl.p99, latency.p50)


def ours(port: int, scenario: Scenario, folder: Path) -> Found:
    return uvloop.run(_ours(port, scenario))


async def _ours(port: int, scenario: Scenario) -> Found:
    client = Client("127.0.0.1", port, "fake", lambda tokens: {"ignore_eos": True})
    maker = PromptMaker.of(None, 0)

    async def ask() -> Timing:
        return await client.stream(maker.make(64), scenario.output)

    await asyncio.gather(*(client.stream("a", 1) for _ in range(scenario.streams)))
    pressed = await press_closed(ask, scenario.streams, scenario.seconds)
    client.close()
    counted = [timing for timing in pressed.timings if pressed.counts(timing)] or list(pressed.timings)
    figures = figures_of(pressed.timings, counted, pressed.window)
    return Found(figures, pressed.window, min(timing.began for timing in counted))


def guidellm(program: str, port: int, scenario: Scenario, folder: Path) -> Found:
    whole = scenario.latency + scenario.output / scenario.pace
    requests = scenario.streams * max(2, round(scenario.seconds / whole))
    argv = [program, "run", "--profile", f"kind=concurrent,streams={scenario.streams}", "--disable-console"]
    argv += ["--backend", f"kind=openai_http,target=http://127.0.0.1:{port},model=fake,request_format=/v1/completions"]
    argv += ["--constraint", f"kind=max_requests,count={requests}"]
    argv += ["--data", f"kind=synthetic_text,prompt_tokens=64,output_tokens={scenario.output}"]
    argv += ["--tokenizer", f"kind=hf_auto,model={TOKENIZER}"]
    argv += ["--output", f"kind=json,path={folder / 'found.json'}"]
    _run(argv, folder, HF_HUB_OFFLINE="1")
    metrics = json.loads((folder / "found.json").read_text())["benchmarks"][0]["metrics"]

    def of(name: str) -> Mapping[str, float]:
        found: Mapping[str, float] = metrics[name]["successful"]
        return found

    def at(name: str, percentile: str, scale: float = 1.0) -> float:
        part: Mapping[str, float] = metrics[name]["successful"]["percentiles"]
        return part[percentile] * scale

    ms = 1e-3
    figures = Figures(
        of("requests_per_second")["mean"],
        of("output_tokens_per_second")["mean"],
        at("time_to_first_token_ms", "p50", ms),
        at("time_to_first_token_ms", "p99", ms),
        at("inter_token_latency_ms", "p50", ms),
        at("inter_token_latency_ms", "p99", ms),
        at("request_latency", "p50"),
    )
    return Found(figures)


def vllm_bench(python: str, port: int, scenario: Scenario, folder: Path) -> Found:
    whole = scenario.latency + scenario.output / scenario.pace
    prompts = scenario.streams * max(2, round(scenario.seconds / whole))
    argv = [python, "-c", VLLM, "--backend", "openai", "--model", "fake", "--temperature", "0"]
    argv += ["--base-url", f"http://127.0.0.1:{port}", "--dataset-name", "random", "--tokenizer", str(TOKENIZER)]
    argv += ["--random-input-len", "64", "--random-output-len", str(scenario.output), "--ignore-eos"]
    argv += ["--num-prompts", str(prompts), "--max-concurrency", str(scenario.streams), "--save-result"]
    argv += ["--percentile-metrics", "ttft,itl,e2el", "--metric-percentiles", "50,99"]
    argv += ["--result-dir", str(folder), "--result-filename", "found.json", "--disable-tqdm"]
    _run(argv, folder, HF_HUB_OFFLINE="1")
    found = json.loads((folder / "found.json").read_text())
    times = [found[name] / 1e3 for name in ("p50_ttft_ms", "p99_ttft_ms", "p50_itl_ms", "p99_itl_ms", "p50_e2el_ms")]
    return Found(Figures(found["request_throughput"], found["output_throughput"], *times))


@contextmanager
def fake_engine(scenario: Scenario, timings: Path) -> Iterator[int]:
    pace = ["--latency", str(scenario.latency), "--tokens-per-second", str(scenario.pace), "--slots", "4096"]
    argv = [sys.executable, "-m", "orchestrator.fake_engine", "--port", "0", "--timings", str(timings), *pace]
    with tempfile.NamedTemporaryFile("r+") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            while (found := re.search(r"ready on \S+:(\d+)", Path(log.name).read_text())) is None:
                time.sleep(0.02)
            yield int(found.group(1))
        finally:
            process.terminate()


def _run(argv: list[str], folder: Path, **env: str) -> None:
    log = folder / "log"
    with log.open("w") as file:
        done = subprocess.run(argv, stdout=file, stderr=file, cwd=folder, env={**os.environ, **env}, timeout=180)
    if done.returncode:
        print(log.read_text()[-2000:])
        raise SystemExit(f"{argv[0]} failed")


def _show(name: str, found: Figures, truth: Figures, cpu: float = 0.0) -> None:
    wrong = {key: value / getattr(truth, key) - 1 for key, value in asdict(found).items()}
    cells = [f"{value:8.4g} {wrong[key]:+5.0%}" for key, value in asdict(found).items()]
    worst = max(wrong.values(), key=abs)
    print(f"{name:16}" + "".join(f"{cell:>14}" for cell in cells) + f"{cpu:8.1f}{worst:+8.1%}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guidellm", metavar="PROGRAM", help="guidellm's command")
    parser.add_argument("--only", nargs="+", choices=("ours", "guidellm", "vllm bench"), help="leave out the others")
    parser.add_argument("--vllm", metavar="PYTHON", help="an interpreter that has vllm, for `vllm bench serve`")
    every = [scenario.streams for scenario in SCENARIOS]
    parser.add_argument("--streams", type=int, nargs="+", default=every, help=f"which scenarios (default: {every})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
