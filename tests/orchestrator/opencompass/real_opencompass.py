"""Runs of the real OpenCompass against the product's fake engine, through a real gateway or past it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients.gateway import Gateway
from clients.ledger import Ledger
from clients.pool import Pool
from clients.replica import Replica
from clients.request import InferenceRequest
from clients.rules import RequestRule, Rules
from launchers.environments import Environment, Environments
from launchers.scrub import scrubbed
from orchestrator.evaluators.base import Command, Target
from orchestrator.evaluators.opencompass import OpenCompassEvaluator
from orchestrator.results import Evaluation
from orchestrator.settings import Settings
from orchestrator.spec.models import EvaluateSpec

DATA = Path(__file__).parents[3] / "eval_configs" / "data" / "demo_arithmetic" / "test.jsonl"
EVALUATOR = OpenCompassEvaluator()


def opencompass_environment() -> Environment:
    """OpenCompass's environment: named by a variable, or the installed one; without one the test is skipped."""
    given = os.environ.get("ORCHESTRATOR_OPENCOMPASS_PYTHON")
    if given:
        python = Path(given)
        return Environment("opencompass", python.parent.parent, python, {}, "", "")
    installed = Environments(Settings.load().environments).find(EVALUATOR.recipe)
    if installed is None:
        pytest.skip("OpenCompass is not installed: `orchestrator install opencompass`")
    return installed


@dataclass
class Run:
    """A finished run of the real OpenCompass."""

    folder: Path
    ledger: Ledger
    bodies: list[dict[str, Any]]
    """What the gateway was asked, in order."""
    home: Path
    """The home folder that it ran with, empty before."""


@contextlib.asynccontextmanager
async def fake_engine(*options: str) -> AsyncIterator[int]:
    """The product's fake engine as a process of its own; gives its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchestrator.fake_engine", "--port", "0", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    drained: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(20):
            line = ""
            while not (found := re.search(r"http://[^:]+:(\d+)", line)):
                line = (await process.stdout.readline()).decode()
                assert line, "the fake engine ended before it was ready"
        drained = asyncio.create_task(process.stdout.read())
        yield int(found[1])
    finally:
        process.kill()
        await process.wait()
        if drained:
            await drained


def collect(folder: Path) -> Evaluation:
    """What the run in `folder` left behind, with its log where `run_opencompass` puts it."""
    return EVALUATOR.collect(folder, folder.parent / "logs" / f"{folder.name}.log")


def run_opencompass(
    spec: EvaluateSpec, place: Path, *engine: str, through_gateway: bool = True, base: Path | None = None
) -> Run:
    """Run the real command in a folder under `place`, against the fake engine with these options."""
    folder, home = place / "opencompass-0", place / "home"
    for path in (folder, home, place / "logs"):
        path.mkdir(parents=True)
    environment = opencompass_environment()
    run = Run(folder, Ledger(), [], home)

    async def whole() -> None:
        async with fake_engine(*engine) as port, contextlib.AsyncExitStack() as stack:
            url = f"http://127.0.0.1:{port}"
            if through_gateway:
                url = await stack.enter_async_context(_gateway(port, run).serving("127.0.0.1", 0))
            target = Target(f"{url}/v1", "fake", 16)
            await _run(EVALUATOR.prepare(spec, base or folder, environment, target, folder), run)

    asyncio.run(whole())
    return run


def _gateway(port: int, run: Run) -> Gateway:
    def record(body: dict[str, Any], request: InferenceRequest, replica: Replica) -> dict[str, Any]:
        run.bodies.append(body)
        return body

    pool, replica = Pool(), Replica("r0", "127.0.0.1", port, "fake")
    pool.add(replica)
    pool.mark_ready(replica)
    rules = Rules(requests=(*Rules().requests, RequestRule("record", record)))
    return Gateway(pool, run.ledger, None, served_model="fake", request_timeout=20.0, attempts=1, rules=rules)


async def _run(command: Command, run: Run) -> None:
    """As the runner starts it, but with a home folder of its own."""
    env = {**scrubbed(os.environ, command.env), "HOME": str(run.home)}
    with (run.folder.parent / "logs" / f"{run.folder.name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command.argv, cwd=command.cwd, env=env, stdout=log, stderr=log)
        try:
            async with asyncio.timeout(280):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
