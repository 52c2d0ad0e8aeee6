"""What no deployment expects: it ends in a teardown and a failure that can be read all the same."""

from __future__ import annotations

from pathlib import Path

from clients.spec import ProbeSpec
from launchers.spec import ServeSpec
from orchestrator.deployment import Deployment, new_deployment
from orchestrator.settings import Settings
from tests.orchestrator.support import FAKE


async def test_an_unexpected_error_ends_in_a_teardown_and_names_its_trace(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    folder = new_deployment("one", ServeSpec(engine="custom", model="fake", command=FAKE), ProbeSpec(), settings)

    def watch(phase: str, message: str) -> None:
        if phase == "probing":
            raise BrokenPipeError("nobody reads this terminal")

    record = await Deployment(folder, settings, watch).run(lambda ready: None)
    assert folder.read() == record
    assert record.state == "failed"
    assert record.failure
    assert (record.failure.code, record.failure.message) == (
        "internal_error",
        "BrokenPipeError: nobody reads this terminal",
    )
    trace = (folder.path / "logs" / "deployment.log").read_text()
    assert record.failure.log == str(folder.path / "logs" / "deployment.log")
    assert "BrokenPipeError" in trace
    assert record.teardown
    assert record.teardown.clean
