"""The fake engine as a process of its own, without an orchestrator around it; whether the machine keeps time."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


class Lateness:
    """How late a thread wakes that only sleeps: what neighbours do to everything that is timed here."""

    TICK = 0.01
    LIMIT = 0.004
    """Seconds (99th percentile) above which a disagreement says nothing."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._over = threading.Event()

    @property
    def disturbed(self) -> bool:
        """Whether the machine was too busy to time anything."""
        return sorted(self._late)[int(0.99 * len(self._late))] > self.LIMIT

    def watch(self) -> None:
        """Until `end`."""
        while not self._over.is_set():
            began = time.perf_counter()
            time.sleep(self.TICK)
            self._late.append(time.perf_counter() - began - self.TICK)

    def end(self) -> None:
        self._over.set()


@contextmanager
def lateness() -> Iterator[Lateness]:
    """Watched for the length of the block."""
    found = Lateness()
    thread = threading.Thread(target=found.watch)
    thread.start()
    try:
        yield found
    finally:
        found.end()
        thread.join()


def skip_disturbed() -> None:
    """Give up a test in which every attempt was disturbed."""
    pytest.skip("this machine is too busy to time anything")
