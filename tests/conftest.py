"""What every test's processes start from."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the processes that tests start.

    A shell starts background jobs with SIGINT ignored, a continuous integration may too, and children inherit that:
    a test that interrupts one would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
