"""Every command line that we write, held against the engine's own argument parser (see `scripts/parsers.py`)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from launchers.environments import Environments
from launchers.flagged import FlaggedEngine
from launchers.flags import known
from launchers.registry import get_engine
from orchestrator.settings import Settings
from tests.launchers.engines.cases import CASES, Case

PARSERS = Path(os.environ.get("ORCHESTRATOR_PARSERS", "~/.orchestrator/parsers")).expanduser()
NEEDS_OLD_PACKAGES = ("lightllm-0.2024.5", "lmdeploy-0.2.6", "lmdeploy-0.4.2")
ACCEPTING = Path(__file__).parent / "accepting.py"
HELD = [case for case in CASES if case.engine in ("lightllm", "lmdeploy", "sglang")]
INSTALLED = [case for case in CASES if (case.engine, case.version) in (("vllm", "0.32.0"), ("llamacpp", "0.3.36"))]

pytestmark = pytest.mark.real


def ask_the_parser(case: Case, *argv: str) -> subprocess.CompletedProcess[str]:
    version = f"{case.engine}-{case.version}"
    if not (PARSERS / version).is_dir():
        pytest.skip(f"the parser of {version} is not installed: python -m scripts.parsers")
    old = [str(PARSERS / "old")] if version in NEEDS_OLD_PACKAGES else []
    env = {**os.environ, "PYTHONPATH": ":".join([str(PARSERS / version), *old])}
    module, *arguments = argv
    command = [str(PARSERS / "venv" / "bin" / "python"), str(ACCEPTING), module, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.parametrize("case", INSTALLED, ids=lambda case: case.id)
def test_the_parser_of_an_installed_engine_takes_the_command_line(case: Case) -> None:
    engine = get_engine(case.engine)
    found = Environments(Settings.load().environments).find(case.engine)
    if found is None or found.version != case.version or not isinstance(engine, FlaggedEngine):
        pytest.skip(f"{case.engine} {case.version} is not installed: orchestrator install {case.engine}")
    env = {**os.environ, **engine.help_command(found.python)[1]}
    for arguments, code in ((case.launch().argv[2:], 0), ((*case.launch().argv[2:], "--nothingofthekind"), 2)):
        command = [str(found.python), str(ACCEPTING), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == code, done.stderr[-2000:]


def test_the_flags_we_know_are_those_that_the_installed_engines_tell() -> None:
    for name in ("vllm", "llamacpp"):
        found = Environments(Settings.load().environments).find(name)
        if found is None:
            pytest.skip(f"{name} is not installed: orchestrator install {name}")
        told = get_engine(name).flags(found)
        assert told is not None
        assert told.source == "help"
        written = {flag for case in CASES if case.engine == name for flag in case.words if flag.startswith("--")}
        ours = known(name, told.version).names & written
        assert ours <= told.names


@pytest.mark.parametrize("case", HELD, ids=lambda case: case.id)
def test_the_engines_own_parser_takes_the_command_line(case: Case) -> None:
    answer = ask_the_parser(case, *case.launch().argv[2:])
    assert (answer.returncode, "accepted" in answer.stdout) == (0, True), answer.stderr[-2000:]


@pytest.mark.parametrize(
    "case", [case for case in HELD if not case.spec or case.version == "1.0.1"], ids=lambda c: c.id
)
def test_the_engines_own_parser_refuses_a_flag_of_another_version(case: Case) -> None:
    """The check itself can fail."""
    answer = ask_the_parser(case, *case.launch().argv[2:], "--nothingofthekind", "1")
    assert answer.returncode == 2
    assert "unrecognized arguments: --nothingofthekind" in answer.stderr
