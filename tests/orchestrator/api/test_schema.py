"""schemathesis against the running service: no 5xx, no undocumented status, no answer that is not as it says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestrator.api.support import running

HERE = Path(__file__).parent


@pytest.mark.slow
async def test_the_service_does_what_its_schema_says(new_home: Callable[[], Path], tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("schemathesis")
    options = [
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--checks",
        "all",
        "--max-examples",
        "3",
        "--seed",
        "4",
    ]
    config = ["--config-file", str(HERE / "schemathesis.toml")]
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    async with running(new_home(), max_running=2) as service:
        schema = f"{service.url}/openapi.json"
        run = await asyncio.create_subprocess_exec(
            *(tool, *config, "run", *options, schema), cwd=tmp_path, env=env, stdout=-1, stderr=-2
        )
        told, _ = await asyncio.wait_for(run.communicate(), 250)
        made = service.service.store.counts()
    text = told.decode()
    assert run.returncode == 0, text
    assert "Tested: 30" in text, text
    assert sum(made.values()) >= 3, text
