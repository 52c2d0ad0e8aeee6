"""The fake engine as a process of its own, without an orchestrator around it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.orchestrator.support import wait_for


@contextmanager
def fake_engine(folder: Path, *options: str) -> Iterator[int]:
    """Its port, for the length of the block."""
    log = folder / "engine.log"
    argv = [sys.executable, "-m", "orchestrator.fake_engine", "--port", "0", *options]
    with log.open("w") as file, subprocess.Popen(argv, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            found = wait_for(lambda: re.search(r"ready on \S+:(\d+)", log.read_text()), "ready line", timeout=20)
            yield int(found.group(1))
        finally:
            process.terminate()
