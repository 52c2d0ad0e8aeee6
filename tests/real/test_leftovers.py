"""However a real engine ends, nothing of it is left: no process, no port or GPU lock, no shared memory, no socket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import eval_configs
from launchers import marker, shared_memory
from launchers.environments import Environments
from launchers.registry import get_engine
from orchestrator.settings import Settings
from tests.orchestrator.support import Cli, wait_for

pytestmark = pytest.mark.heavy
DEMO = Path(eval_configs.__file__).parent / "models" / "demo-arithmetic"
SERVES: dict[str, dict[str, Any]] = {
    "transformers": {"env": {"OMP_NUM_THREADS": "1"}},
    "vllm": {"dtype": "float32", "extra_args": ["--enforce-eager"]},
    "llamacpp": {"compress": {"tool": "gguf", "scheme": "f32"}},
}
TOO_MUCH: dict[str, dict[str, Any]] = {
    "vllm": {"env": {"VLLM_CPU_KVCACHE_SPACE": "4000"}},
    "llamacpp": {"extra_args": ["--n_ctx", "2000000000"]},
}
"""What makes the engine itself run out of memory; transformers reserves none before it is asked."""
ADDRESS_SPACE = 20_000_000_000
engines = pytest.mark.parametrize("engine", SERVES)


class House:
    """A home with the machine's environments, and what the engine's user has in shared places."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        (home / "environments").symlink_to(Settings.load().environments)
        self.cli = Cli(home)
        self._before = shared_files()

    def up(self, engine: str, **changes: Any) -> tuple[str, ...]:
        """Arguments that serve the demo model, or what `changes` say."""
        document = {"engine": engine, "model": str(DEMO), "max_restarts": 0, **SERVES[engine], **changes}
        compress = {"compress": document.pop("compress")} if "compress" in document else {}
        spec = self.cli.home / "spec.yaml"
        evaluate = [{"evaluator": "opencompass", "datasets": ["demo_arithmetic"]}]
        spec.write_text(yaml.safe_dump({"serve": document, "evaluate": evaluate, **compress}))
        return ("up", "--spec", str(spec), "--name", "served")

    def record(self) -> dict[str, Any]:
        """The deployment, {} before it is written."""
        path = self.cli.home / "deployments" / "served" / "deployment.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def engine_processes(self) -> list[psutil.Process]:
        """The engine's own processes, the root first; none before it starts."""
        mark = self.record().get("mark")
        found = [psutil.Process(one.pid) for one in marker.find(f"{mark}/engine-0")] if mark else []
        return sorted(found, key=lambda process: process.create_time())

    def assert_empty(self) -> None:
        """Nothing is left; leases fall with the processes that hold them."""
        wait_for(lambda: not self.cli.left(), "end of every process and lock", timeout=10)
        assert shared_memory.unused(frozenset(shared_files() - self._before)) == set()


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> House:
    recipe = get_engine(request.getfixturevalue("engine")).recipe
    assert recipe
    assert Environments(Settings.load().environments).find(recipe), f"first: orchestrator install {recipe.name}"
    return House(tmp_path / "home")


def shared_files() -> set[Path]:
    """Shared memory and sockets where servers leave them."""
    temporary = Path(tempfile.gettempdir()).iterdir()
    return {*shared_memory.FOLDER.iterdir(), *(path for path in temporary if path.is_socket())}


@engines
def test_after_sigterm_while_it_loads(house: House, engine: str) -> None:
    process = house.cli.start(*house.up(engine))
    wait_for(house.engine_processes, "engine process", timeout=90)
    log = house.cli.home / "deployments" / "served" / "logs" / "engine-0.log"
    wait_for(lambda: engine != "vllm" or "non-default args" in log.read_text(), "loading", timeout=90)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert house.record()["teardown"]["clean"]
    house.assert_empty()


@engines
def test_after_kill_9_of_its_root_process(house: House, engine: str) -> None:
    process = house.cli.start(*house.up(engine))
    wait_for(lambda: house.record().get("state") == "ready", "ready engine", timeout=200)
    house.engine_processes()[0].send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    record = house.record()
    assert (process.returncode, record["failure"]["code"]) == (1, "engine_exited")
    assert record["teardown"]["clean"]
    house.assert_empty()


@engines
def test_after_a_failed_load(house: House, engine: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(DEMO, broken)
    weights = broken / "model.safetensors"
    changes: dict[str, Any] = {"model": str(broken)}
    if engine == "llamacpp":
        (tmp_path / "broken.gguf").write_bytes(b"GGUF" + os.urandom(4096))
        changes = {"model": str(tmp_path / "broken.gguf"), "compress": None}
    else:
        weights.write_bytes(weights.read_bytes()[:100_000])
    process = house.cli.start(*house.up(engine, **changes))
    _, err = process.communicate(timeout=200)
    record = house.record()
    assert process.returncode == 1, err
    assert record["failure"]["code"] in {"engine_exited", "unsupported_model", "model_not_found"}, err
    assert record["failure"]["log_tail"]
    assert record["teardown"]["clean"]
    house.assert_empty()


@pytest.mark.parametrize("engine", TOO_MUCH)
def test_after_it_ran_out_of_memory(house: House, engine: str) -> None:
    asked = TOO_MUCH[engine]
    extra = [*SERVES[engine].get("extra_args", []), *asked.get("extra_args", [])]
    argv = [sys.executable, "-m", "orchestrator", *house.up(engine, **{**asked, "extra_args": extra})]
    limited = ["prlimit", f"--as={ADDRESS_SPACE}", *argv]  # else the kernel ends whatever is largest on the machine
    process = subprocess.Popen(limited, env=house.cli.env, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=200)
    record = house.record()
    assert (process.returncode, record["failure"]["code"]) == (1, "out_of_memory"), err
    assert record["teardown"]["clean"]
    house.assert_empty()
