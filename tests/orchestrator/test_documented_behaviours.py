"""What LightLLM and LMDeploy are documented to do to their clients, played by the fake engine: no score shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestrator.support import Cli

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "behaviour",
    [
        ["--error-rate", "0.2", "--error-status", "417"],  # LightLLM: an exception while generating
        ["--error-rate", "0.2", "--error-status", "499"],  # both: a request that the engine gave up
        ["--finish-error-rate", "0.2"],  # LMDeploy: 200 with half of the text and finish_reason "error"
        ["--load-time", "2"],  # both listen only after loading
        ["--close-idle", "0.05"],  # both close idle connections, under a request now and then
    ],
    ids=["417", "499", "finish_reason error", "late listen", "idle connections closed"],
)
def test_it_costs_no_answer(cli: Cli, write_job: Callable[..., Path], behaviour: list[str]) -> None:
    code, job = cli.job(write_job(*behaviour))
    assert (code, job["state"]) == (0, "succeeded"), job["failure"]
    result = job["results"][0]
    assert (result["asked"], result["answered"], result["score"]) == (20, 20, 100.0)
    assert (job["gateway"]["retried"] > 0) == ("rate" in behaviour[0])
    assert job["teardown"]["clean"]


def test_workers_that_survive_their_launcher_are_gone_after_the_job(cli: Cli, write_job: Callable[..., Path]) -> None:
    code, job = cli.job(write_job("--workers", "2", "--detached-worker", "--ignore-first-sigterm"))
    assert (code, job["teardown"]["clean"], job["teardown"]["survivors"]) == (0, True, [])
    assert job["teardown"]["processes"] >= 4
